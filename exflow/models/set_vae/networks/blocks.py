"""What the networks of the flat and the 4x4 set VAEs are made of: fusions, residual blocks and moment heads.

One form serves vectors `[..., channels]` and maps `[..., height, width, channels]`: where a vector model has a dense
layer inside a residual block a map model has a 3x3 convolution, and every other dense layer is a 1x1 convolution.
Sources: Edwards & Storkey 2017, arXiv:1606.02185; Giannone & Winther 2022, arXiv:2110.12279.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from exflow.core.latents.diagonal_gaussian import DiagonalGaussian, from_moments
from exflow.nn.activations import ACTIVATIONS
from exflow.nn.layers import Linear
from exflow.nn.normalization import Normalization

Features = Float[Array, "..."]
Mask = Bool[Array, "..."] | None


class BlockStyle(NamedTuple):
    """What all blocks of a model share; hashable, as module attributes must be."""

    hidden: int  # width
    maps: bool = False  # features are [height, width, channels] and not [channels]
    normalization: str = "batch"  # after every hidden layer: batch | group | none
    head_normalization: str = "global_batch"  # of the outputs of moment heads
    activation: str = "elu"
    block_depth: int = 3  # layers of a residual block
    num_blocks: int = 1  # residual blocks of a network of element latents
    initialization: str = "uniform_fan_in"
    unused_parameters: bool = False  # keep the weights that the original code creates and never uses
    log_variance_bound: float = 0.0  # of the Gaussians of latents; 0: none
    compute_dtype: Any = None  # of hidden convolutional and dense layers; Gaussians and outputs are float32 at least

    @property
    def act(self) -> Callable[[Array], Array]:
        """The activation function."""
        return ACTIVATIONS[self.activation]


class HiddenLayer(nn.Module):
    """Dense layer, normalisation, activation."""

    style: BlockStyle

    @nn.compact
    def __call__(self, x: Features, mask: Mask, train: bool) -> Features:
        """Apply the layer."""
        style = self.style
        x = Linear(style.hidden, initialization=style.initialization, compute_dtype=style.compute_dtype)(x)
        return self.style.act(Normalization(self.style.normalization)(x, mask, train))


class ResidualBlock(nn.Module):
    """act(x + layers(x)), the last layer without an activation of its own."""

    style: BlockStyle
    depth: int

    @nn.compact
    def __call__(self, x: Features, mask: Mask, train: bool) -> Features:
        """Apply the block; the shape stays."""
        style, hidden = self.style, x
        for index in range(self.depth):
            kernel_shape = (3, 3) if style.maps else ()
            options = {"initialization": style.initialization, "compute_dtype": style.compute_dtype}
            layer = Linear(style.hidden, kernel_shape, **options)
            hidden = Normalization(style.normalization)(layer(hidden), mask, train)
            if index < self.depth - 1:
                hidden = style.act(hidden)
        return style.act(x + hidden.astype(x.dtype))


class ResidualBlocks(nn.Module):
    """The residual blocks of a network: `style.num_blocks` of `style.block_depth` layers."""

    style: BlockStyle

    @nn.compact
    def __call__(self, x: Features, mask: Mask, train: bool) -> Features:
        """Apply the blocks."""
        for _ in range(self.style.num_blocks):
            x = ResidualBlock(self.style, self.style.block_depth)(x, mask, train)
        return x


class MomentsHead(nn.Module):
    """Mean and log-variance of a Gaussian, normalised so that both start at the scale of 1.

    With normalisation "none" the head starts at zero instead, which is N(0, 1).
    """

    style: BlockStyle
    dim: int

    @nn.compact
    def __call__(self, x: Features, mask: Mask, train: bool) -> DiagonalGaussian:
        """Return the Gaussian over `dim` channels."""
        kind = self.style.head_normalization
        scale = 1.0 if kind in ("batch", "global_batch") else 0.0
        initialization = self.style.initialization if scale else "uniform_fan_in_zero_bias"
        moments = Linear(2 * self.dim, initialization=initialization, kernel_scale=scale)(x)  # promoted to float32
        return from_moments(Normalization(kind)(moments, mask, train), self.style.log_variance_bound)


class Fusion(nn.Module):
    """act(sum of W v over the inputs that are there), or with FiLM act(gamma * sum + beta) with (gamma, beta) = W c.

    A latent of the set, `[batch, ...]` beside elements `[batch, set, ...]`, is given to every element of its set.

    With `style.unused_parameters` also the weights of absent inputs exist, as in the original code. FiLM: Perez et al.
    2018, arXiv:1709.07871.

    Attributes:
      style: Shared style.
      input_dims: Channels of every input by name, "c" being the latent of the set.
      film: Let it modulate the others.
    """

    style: BlockStyle
    input_dims: tuple[tuple[str, int], ...]
    film: bool = False

    @nn.compact
    def __call__(self, **inputs: Features | None) -> Features:
        """Fuse inputs; None stands for one that is absent."""
        given, modulation = [], None
        rank = max(value.ndim for value in inputs.values() if value is not None)
        for name, dim in self.input_dims:
            value = inputs[name]
            if value is None and not self.style.unused_parameters:
                continue
            film = self.film and name == "c"
            width = (2 if film else 1) * self.style.hidden
            layer = Linear(width, initialization=self.style.initialization, name=name)
            projected = layer(jnp.zeros((*(1,) * (3 if self.style.maps else 1), dim)) if value is None else value)
            if value is None:
                continue
            projected = projected if projected.ndim == rank else projected[:, None]
            if film:
                modulation = projected
            else:
                given.append(projected)
        total = sum(given[1:], given[0]) if given else None
        if modulation is not None:
            gamma, beta = jnp.split(modulation, 2, axis=-1)
            total = beta if total is None else gamma * total + beta
        if total is None:
            raise ValueError("inputs: expected at least one, got none. Give z, h or c.")
        return self.style.act(total)


class ElementNetwork(nn.Module):
    """p(z_l | z_{l+1}, c_l), or q(z_l | z_{l+1}, c_l, h): fusion, residual blocks, moments head."""

    style: BlockStyle
    dim: int
    input_dims: tuple[tuple[str, int], ...]
    film: bool = False

    @nn.compact
    def __call__(self, mask: Mask, train: bool, **inputs: Features | None) -> DiagonalGaussian:
        """Gaussian of the next latent of every element."""
        hidden = Fusion(self.style, self.input_dims, self.film, name="fusion")(**inputs)
        hidden = ResidualBlocks(self.style, name="blocks")(hidden, mask, train)
        return MomentsHead(self.style, self.dim, name="head")(hidden, mask, train)


class PostPool(nn.Module):
    """From the pooled feature of a set to the Gaussian of its latent.

    Vectors: two hidden layers; maps, and vectors of the Neural Statistician's experiments on vectors: a residual block.
    """

    style: BlockStyle
    dim: int
    residual: bool

    @nn.compact
    def __call__(self, x: Features, mask: Mask, train: bool) -> DiagonalGaussian:
        """Gaussian over `dim` channels."""
        if self.residual:
            x = ResidualBlock(self.style, 3, name="block")(x, mask, train)
        else:
            for _ in range(2):
                x = HiddenLayer(self.style)(x, mask, train)
        return MomentsHead(self.style, self.dim, name="head")(x, mask, train)

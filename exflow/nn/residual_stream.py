"""The networks of SCHA-VAE: a pyramid encoder, levels on two residual streams, and an upsampling decoder.

The latents of the set modify one stream of maps per set, those of the elements one per element, from coarse to fine.
Every block is a bottleneck of four convolutions without normalisation. Sources: Giannone & Winther 2022,
arXiv:2110.12279, section 4; Child 2021, arXiv:2011.10650, for the blocks.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from exflow.core import diagonal_gaussian
from exflow.core.diagonal_gaussian import DiagonalGaussian
from exflow.nn.latent_trace import CONTEXT, ELEMENT, Latent, Level, Noise, TopDown, draw
from exflow.nn.layers import Linear
from exflow.nn.set_aggregation import SetAggregator

PYRAMID_SIZE = 32  # height and width at which the encoder begins and the decoder ends
DECODER_CONTEXTS = ("corner", "mean", "map")


def parse_groups(text: str) -> tuple[tuple[int, int], ...]:
    """Resolutions and numbers of blocks from text such as "32-9,16-6,8-6".

    Raises:
      ValueError: Not of that form.
    """
    try:
        groups = tuple((int(resolution), int(number)) for resolution, number in (g.split("-") for g in text.split(",")))
    except ValueError:
        groups = ()
    if not groups or any(resolution < 1 or number < 1 for resolution, number in groups):
        raise ValueError(f"groups: expected resolution-number pairs such as '8-6,4-6,1-3', got {text!r}.")
    return groups


def per_block(text: str) -> tuple[int, ...]:
    """The resolution of every block or level, in the order of the text."""
    return tuple(resolution for resolution, number in parse_groups(text) for _ in range(number))


def resize_nearest(x: Float[Array, "... height width channels"], size: int) -> Array:
    """Nearest-neighbour resize with source pixel floor(target * old / new), as in the original's framework."""
    rows = np.arange(size) * x.shape[-3] // size
    return x[..., rows, :, :][..., np.arange(size) * x.shape[-2] // size, :]


def gelu(x: Array) -> Array:
    """x Phi(x), exact."""
    return jax.nn.gelu(x, approximate=False)


def _conv(features: int, size: int = 1, scale: float = 1.0, name: str | None = None) -> Linear:
    return Linear(
        features, (3, 3) if size == 3 else (), initialization="uniform_fan_in_zero_bias", kernel_scale=scale, name=name
    )


class Bottleneck(nn.Module):
    """GELU and convolution four times: 1x1 to a quarter of the width, two 3x3 (1x1 on small maps), 1x1; + x.

    Attributes:
      width: Of the model; the bottleneck has a quarter of it.
      features: Channels of the output.
      resolution: Label of the block: at 2 and below all convolutions are 1x1.
      residual: Add the input.
      scale: Factor on the initial kernel of the last convolution; 0 starts with zero output.
    """

    width: int
    features: int
    resolution: int
    residual: bool = False
    scale: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "... height width num_in"]) -> Float[Array, "... height width num_out"]:
        """Apply the block."""
        middle, size = self.width // 4, 3 if self.resolution > 2 else 1
        hidden = _conv(middle)(gelu(x))
        hidden = _conv(middle, size)(gelu(hidden))
        hidden = _conv(middle, size)(gelu(hidden))
        hidden = _conv(self.features, scale=self.scale)(gelu(hidden))
        return x + hidden if self.residual else hidden


class PyramidEncoder(nn.Module):
    """Maps of every element at every resolution.

    Residual blocks, with a mean over 2x2 pixels after the first block of each lower resolution, which still works at
    the resolution above.

    Attributes:
      width: Channels.
      blocks: Resolution of every block, from fine to coarse.
    """

    width: int
    blocks: tuple[int, ...]

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch set height width channels"], mask: Array, train: bool
    ) -> dict[int, Array]:
        """Maps `[batch, set, r, r, width]` by resolution r."""
        del mask, train
        x = _conv(self.width, 3, name="input")(resize_nearest(x, PYRAMID_SIZE))
        maps, current = {}, PYRAMID_SIZE
        for resolution in self.blocks:
            block = Bottleneck(self.width, self.width, resolution, residual=True, scale=1 / math.sqrt(len(self.blocks)))
            x = block(x)
            while current > resolution:
                x = x.reshape(*x.shape[:-3], current // 2, 2, current // 2, 2, -1).mean(axis=(-4, -2))
                current //= 2
            maps[current] = x
        return maps


class StreamLevel(nn.Module):
    """Half a level: one latent on one stream.

    prior(stream) gives the Gaussian p and features that join the stream; a draw from q or p joins it too; a residual
    block ends. The posterior is absolute, as in very deep VAEs, or with `residual_posterior` an offset from p.
    """

    width: int
    dim: int
    resolution: int
    scale: float
    residual_posterior: bool = False

    @nn.compact
    def __call__(
        self,
        stream: Array,
        evidence: Array | None,
        given: Array | None,
        nonempty: Array | None,
        noise: Noise,
        index: int,
        which: int,
        joins: bool,
        prior_input: Array | None = None,
    ) -> tuple[Array, Latent]:
        """The stream after the level, and its latent."""
        width, resolution = self.width, self.resolution
        prior = Bottleneck(width, 2 * self.dim + width, resolution, scale=0.0, name="prior")
        outputs = prior(stream if prior_input is None else stream + prior_input)
        p = diagonal_gaussian.from_moments(outputs[..., : 2 * self.dim])
        q = None
        if evidence is not None:
            moments = Bottleneck(width, 2 * self.dim, resolution, name="posterior")(evidence)
            q = diagonal_gaussian.from_moments(moments)
            if self.residual_posterior:
                q = DiagonalGaussian(p.mean + q.mean, p.log_variance + q.log_variance)
            if nonempty is not None:
                q = diagonal_gaussian.where(nonempty.reshape(-1, 1, 1, 1), q, p)
        value = given if given is not None else draw(noise, p if q is None else q, index, which)
        latent = Latent(value, None if given is not None else p, None if given is not None else q)
        joined = stream + outputs[..., 2 * self.dim :] + _conv(width, scale=self.scale, name="latent")(value)
        joined = Bottleneck(width, width, resolution, residual=True, scale=self.scale, name="output")(joined)
        return (joined if joins else stream), latent


class StreamHierarchy(nn.Module):
    """Top-down pass of SCHA-VAE over levels of growing resolution.

    Attributes:
      width: Channels of the streams.
      levels: Resolution of every level, coarse to fine.
      context_dim: Channels of every c.
      latent_dim: Channels of every z.
      aggregation: Of elements to a set in the posteriors of c: a kind of `SetAggregator`.
      latents_to_contexts: Feed the mean over the set of the element streams into p(c_l | ...), the edge z -> c of the
        published graph, which the original code leaves out.
      residual_posteriors: Posteriors are offsets from their priors.
      limit_level: Latents of levels from this one on are drawn and counted but do not enter the streams; 0: all do.
    """

    width: int
    levels: tuple[int, ...]
    context_dim: int
    latent_dim: int
    aggregation: str = "mean"
    latents_to_contexts: bool = False
    residual_posteriors: bool = False
    limit_level: int = 0

    @nn.compact
    def __call__(
        self,
        noise: Noise,
        mask: Bool[Array, "batch set"],
        evidence: dict[int, Array] | None,
        contexts: tuple[Array, ...] | None = None,
        train: bool = False,
    ) -> TopDown:
        """Go down the levels; arguments as of `DirectHierarchy`, evidence being maps by resolution."""
        del train
        width, scale, nonempty = self.width, 1 / math.sqrt(len(self.levels)), mask.any(axis=1)
        start = nn.initializers.zeros
        xc = self.param("context_stream", start, (1, 1, width))[None]
        xz = self.param("element_stream", start, (1, 1, width))[None, None]
        xc, xz = jnp.broadcast_to(xc, (len(mask), 1, 1, width)), jnp.broadcast_to(xz, (*mask.shape, 1, 1, width))
        levels = []
        for index, resolution in enumerate(self.levels):
            joins = not self.limit_level or index < self.limit_level
            options = {"width": width, "resolution": resolution, "scale": scale}
            options["residual_posterior"] = self.residual_posteriors
            xc, xz = resize_nearest(xc, resolution), resize_nearest(xz, resolution)
            projected = _conv(width, scale=scale, name=f"element_to_context_{index}")(xz)
            pooled, attention, edge = None, None, None
            if evidence is not None and contexts is None:
                seen = evidence[resolution] + xc[:, None] + (projected if index else 0.0)
                pooled, attention = SetAggregator(self.aggregation, name=f"aggregator_{index}")(seen, mask)
            if self.latents_to_contexts and index:
                edge, _ = SetAggregator("mean")(projected, mask)
            level = StreamLevel(dim=self.context_dim, name=f"context_{index}", **options)
            given = None if contexts is None else contexts[index]
            xc, context = level(xc, pooled, given, nonempty, noise, index, CONTEXT, joins, edge)
            xz = xz + _conv(width, scale=scale, name=f"context_to_element_{index}")(xc)[:, None]
            seen = None if evidence is None else jnp.concatenate([xz, evidence[resolution]], axis=-1)
            level = StreamLevel(dim=self.latent_dim, name=f"element_{index}", **options)
            xz, element = level(xz, seen, None, None, noise, index, ELEMENT, joins)
            levels.append(Level(context, element, attention))
        return TopDown(tuple(levels), xz, xc)


class StreamDecoder(nn.Module):
    """From the two streams to the parameters of the likelihood, through residual blocks at growing resolution.

    Attributes:
      width: Channels of the streams.
      blocks: Resolution of every block, coarse to fine.
      image_size: Height and width of the images.
      num_outputs: Parameters per pixel.
      context: What enters of the stream of the set: "corner", its top-left pixel, as in the original code, whose resize
        to one pixel is by nearest neighbour; "mean" over all pixels; or the whole "map".
    """

    width: int
    blocks: tuple[int, ...]
    image_size: int
    num_outputs: int
    context: str = "corner"

    @nn.compact
    def __call__(
        self,
        elements: Float[Array, "batch set size size channels"],
        contexts: Float[Array, "batch size size channels"],
        mask: Bool[Array, "batch set"],
        train: bool,
    ) -> Float[Array, "batch set height width outputs"]:
        """Parameters of the likelihood of every element."""
        del mask, train
        if self.context not in DECODER_CONTEXTS:
            raise ValueError(f"context: expected one of {DECODER_CONTEXTS}, got {self.context!r}.")
        seen = {
            "corner": lambda: contexts[:, :1, :1],
            "mean": lambda: contexts.mean(axis=(1, 2), keepdims=True),
            "map": lambda: contexts,
        }[self.context]()
        scale = 1 / math.sqrt(len(self.blocks))
        x = _conv(self.width, 3, name="element")(elements) + _conv(self.width, 3, name="context")(seen)[:, None]
        current = self.blocks[0]
        for resolution in self.blocks:
            x = Bottleneck(self.width, self.width, resolution, residual=True, scale=scale)(x)
            while current < resolution:
                x, current = resize_nearest(x, 2 * current), 2 * current
        x = resize_nearest(x, self.image_size)
        return _conv(self.num_outputs, scale=scale, name="output")(x)

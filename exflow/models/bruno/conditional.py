"""Conditioner networks that also see what is known of an image: Conditional BRUNO (Korshunova et al. 2018, workshop).

The context of an image, such as its view angle as (sin, cos), passes through `ContextEmbedding`, which all couplings of
a flow share; its features then enter every layer of every conditioner. Two ways exist (`CONDITIONINGS`):

| part                       | "original": as in the published code        | "clean"                               |
|----------------------------|---------------------------------------------|---------------------------------------|
| first convolution          | 3x3 (meant as 1x1)                          | 1x1                                   |
| every hidden convolution   | conv(x) + dense(features)                   | the same                              |
| bias of that dense         | set by the data-dependent pass, then frozen | trained                               |
| hidden dense layers        | see [leaky ReLU(dense(features)), x]        | dense(x) + dense(features)            |
| heads of convolutions      | zero, plus orthogonal dense of features     | zero, plus zero dense of features     |
| heads of dense conditioners| orthogonal on [leaky ReLU(dense(f)), x]     | zero, plus zero dense of features     |
| flow at initialisation     | not the identity                            | the identity                          |

In both, each hidden dense of the features has a weight normalisation of its own, so that with the convolution beside it
the pre-activations of the first batch have a variance of about 2.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from exflow.models.bruno.conditioners import ConvConditioner, DenseConditioner, Outputs, heads_for
from exflow.nn.activations import elu
from exflow.nn.repeated import repeated
from exflow.nn.weight_norm import WeightNorm

CONDITIONINGS = ("original", "clean")
CONTEXT_DIM = 2  # sine and cosine of the angle under which an image is seen
EMBEDDING_DIM = 32
NEGATIVE_SLOPE = 0.2  # of the leaky ReLU

Image = Float[Array, "batch height width channels"]
Vector = Float[Array, "batch dim"]
Features = Float[Array, "batch features"]


class ContextEmbedding(nn.Module):
    """Leaky ReLU of an orthogonal dense layer: the features of a context."""

    features: int = EMBEDDING_DIM

    @nn.compact
    def __call__(self, context: Float[Array, "batch context"]) -> Features:
        """Embed the context of every image."""
        return nn.leaky_relu(WeightNorm(self.features, normalize=False, name="dense")(context), NEGATIVE_SLOPE)


class SummedContext(nn.Module):
    """layer(x) + dense(features), the same at every position of an image.

    Attributes:
      units: Number of output units.
      kernel_shape: Of the convolution, () for a dense layer.
      layer_options: Of both layers, see `WeightNorm`.
      frozen_bias: Whether the bias of the second layer stays as initialised.
    """

    units: int
    kernel_shape: tuple[int, ...]
    layer_options: Mapping[str, Any]
    frozen_bias: bool

    @nn.compact
    def __call__(self, x: Float[Array, "batch ..."], features: Features) -> Float[Array, "batch ..."]:
        """Apply both layers."""
        hidden = WeightNorm(self.units, self.kernel_shape, name="layer", **self.layer_options)(x)
        label = WeightNorm(self.units, frozen_bias=self.frozen_bias, name="context", **self.layer_options)(features)
        return hidden + _at_every_position(label.astype(hidden.dtype), hidden)


class ConcatenatedContext(nn.Module):
    """Dense layer on [leaky ReLU(dense(features)), x], the former with half as many entries as x."""

    units: int
    layer_options: Mapping[str, Any]

    @nn.compact
    def __call__(self, x: Vector, features: Features) -> Float[Array, "batch units"]:
        """Apply both layers."""
        label = WeightNorm(x.shape[-1] // 2, name="context", **self.layer_options)(features)
        label = nn.leaky_relu(label, NEGATIVE_SLOPE).astype(x.dtype)
        inputs = jnp.concatenate([label, x], axis=-1)
        return WeightNorm(self.units, name="layer", **self.layer_options)(inputs)


class ConditionalBlock(nn.Module):
    """ELU(x + layer(ELU(layer(x)))), where every layer is a 3x3 convolution plus a dense layer of the features."""

    filters: int
    layer_options: Mapping[str, Any]
    frozen_bias: bool

    @nn.compact
    def __call__(self, x: Image, features: Features) -> tuple[Image, None]:
        """Apply the block; the shape stays."""
        options = (self.filters, (3, 3), self.layer_options, self.frozen_bias)
        hidden = elu(SummedContext(*options, name="first")(x, features))
        return elu(x + SummedContext(*options, name="second")(hidden, features)), None


class ContextHeads(nn.Module):
    """Zero heads on x plus dense layers of the features without bias, float32 at least.

    Attributes:
      units: Entries of a position.
      outputs_per_entry: 2: raw log-scale and shift, a pair; otherwise one array with an axis for the raw values behind.
      zero: Whether the layers of the features start at zero; otherwise they are orthogonal.
      dtype: Type in which the layers compute (default: that of their input).
    """

    units: int
    outputs_per_entry: int
    zero: bool
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "batch ..."], features: Features) -> Outputs:
        """Apply the heads to channels-last inputs."""
        start = nn.initializers.zeros if self.zero else nn.initializers.orthogonal()

        def label(name: str, units: int, like: Array) -> Array:
            dense = nn.Dense(units, use_bias=False, kernel_init=start, dtype=self.dtype, name=name)
            return _at_every_position(dense(features).astype(like.dtype), like)

        heads = heads_for(self.units, self.outputs_per_entry, self.dtype)(x)
        if self.outputs_per_entry == 2:
            log_scale, shift = heads
            return log_scale + label("log_scale", self.units, log_scale), shift + label("shift", self.units, shift)
        flat = heads.reshape(*x.shape[:-1], self.units * self.outputs_per_entry)
        return (flat + label("raw", flat.shape[-1], flat)).reshape(heads.shape)


class ConditionalConvConditioner(ConvConditioner):
    """`ConvConditioner` whose layers also see the features of a context.

    Attributes:
      conditioning: "original" or "clean", see the module's description.
    """

    conditioning: str = "clean"

    @nn.compact
    def __call__(self, x: Image, context: Features) -> Outputs:
        """Return the raw log-scale and the shift of every entry, or its raw values."""
        clean = _is_clean(self.conditioning)
        block_loop, options = self.resolved_options()
        first = SummedContext(self.filters, (1, 1) if clean else (3, 3), options, not clean, name="first")
        hidden = elu(first(self.network_input(x), context))
        if self.num_blocks:
            blocks = repeated(ConditionalBlock, self.num_blocks, block_loop, self.remat)
            hidden, _ = blocks(self.filters, options, not clean, name="blocks")(hidden, context)
        heads = ContextHeads(x.shape[-1], self.outputs_per_entry, clean, self.compute_dtype, name="heads")
        return heads(hidden, context)


class ConditionalDenseConditioner(DenseConditioner):
    """`DenseConditioner` whose layers also see the features of a context.

    Attributes:
      conditioning: "original" or "clean", see the module's description.
    """

    conditioning: str = "clean"

    @nn.compact
    def __call__(self, x: Vector, context: Features) -> Outputs:
        """Return the raw log-scale and the shift of every entry, or its raw values."""
        options, inputs = self.resolved_options(), self.network_input(x)
        if _is_clean(self.conditioning):
            hidden = elu(SummedContext(self.units, (), options, False, name="first")(inputs, context))
            hidden = elu(SummedContext(self.units, (), options, False, name="second")(hidden, context))
            heads = ContextHeads(x.shape[-1], self.outputs_per_entry, True, self.compute_dtype, name="heads")
            return heads(hidden, context)
        if self.outputs_per_entry != 2:
            raise ValueError("outputs_per_entry: expected 2 with conditioning 'original'. Use conditioning 'clean'.")
        hidden = elu(ConcatenatedContext(self.units, options, name="first")(inputs, context))
        hidden = elu(ConcatenatedContext(self.units, options, name="second")(hidden, context))
        plain = {"normalize": False, "dtype": self.compute_dtype}
        log_scale = ConcatenatedContext(x.shape[-1], plain, name="log_scale")(hidden, context)
        shift = ConcatenatedContext(x.shape[-1], plain, name="shift")(hidden, context)
        output_dtype = jnp.promote_types(shift.dtype, jnp.float32)
        return log_scale.astype(output_dtype), shift.astype(output_dtype)


def _is_clean(conditioning: str) -> bool:
    if conditioning not in CONDITIONINGS:
        raise ValueError(f"conditioning: expected one of {CONDITIONINGS}, got {conditioning!r}.")
    return conditioning == "clean"


def _at_every_position(label: Float[Array, "batch units"], like: Array) -> Array:
    """Give one vector per image the rank of `like`, [batch, ..., units]."""
    return label.reshape(label.shape[0], *(1,) * (like.ndim - 2), label.shape[-1])

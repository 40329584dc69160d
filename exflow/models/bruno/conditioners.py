"""Conditioner networks of the couplings: residual convolutions for images, two hidden layers for vectors.

Both map a masked input to a raw log-scale and a shift of its shape, or to as many raw values per entry as the coupling
wants; the coupling bounds them. Their last layers start at zero, so that a flow starts as the identity. Source: Dinh et
al. 2017, arXiv:1605.08803, section 3, with the sizes of BRUNO (Korshunova et al. 2018).
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from exflow.nn.activations import elu
from exflow.nn.convolution import resolve_gradient
from exflow.nn.product import as_dot_general, chosen_product, of_every_second_column
from exflow.nn.repeated import repeated, resolve_block_loop
from exflow.nn.weight_norm import WeightNorm

LEAST_ROWS = 16  # of a batch, from which on half a product saves more than to take half of the weights out costs
Outputs = tuple[Float[Array, "..."], Float[Array, "..."]] | Float[Array, "..."]


def with_bounded(x: Float[Array, "*batch channels"]) -> Float[Array, "*batch twice"]:
    """Append 2 tanh(x / 2) to the channels of x.

    On logit pixels this is the pixel value again, up to scale: the dequantization noise of a black pixel, which the
    logit spreads over several units, all but vanishes in it. Masked entries stay 0.
    """
    return jnp.concatenate([x, 2 * jnp.tanh(x / 2)], axis=-1)


class ConvBlock(nn.Module):
    """ELU(x + conv(ELU(conv(x)))) with 3x3 convolutions, as `nn.scan` wants it: (carry, None) -> (carry, None)."""

    features: int
    layer_options: Mapping[str, Any]

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width features"], _: None) -> tuple[Array, None]:
        """Apply the block; the shape stays."""
        hidden = elu(WeightNorm(self.features, (3, 3), name="first", **self.layer_options)(x))
        hidden = WeightNorm(self.features, (3, 3), name="second", **self.layer_options)(hidden)
        return elu(x + hidden), None


def head_product(bfloat16_products: bool, wanted: int | None, width: int = 1) -> Callable[..., Array]:
    """`dot_general` of a head; `wanted`: 0 or 1 where only this and every second entry behind it counts."""
    product = chosen_product(bfloat16_products)
    return as_dot_general(product if wanted is None else of_every_second_column(product, wanted, width))


class Heads(nn.Module):
    """Two linear heads without weight normalisation that start at zero: raw log-scale and shift, float32 at least."""

    features: int
    dtype: Any = None
    bfloat16_products: bool = False
    wanted: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "... num_in"]) -> tuple[Float[Array, "... out"], Float[Array, "... out"]]:
        """Apply both heads to channels-last features."""
        zeros = nn.initializers.zeros
        head: dict[str, Any] = {"kernel_init": zeros, "bias_init": zeros, "dtype": self.dtype}
        if self.bfloat16_products or self.wanted is not None:
            head["dot_general"] = head_product(self.bfloat16_products, self.wanted)
        raw_log_scale = nn.Dense(self.features, name="log_scale", **head)(x)
        shift = nn.Dense(self.features, name="shift", **head)(x)
        output_dtype = jnp.promote_types(shift.dtype, jnp.float32)
        return raw_log_scale.astype(output_dtype), shift.astype(output_dtype)


class EntryHead(nn.Module):
    """One linear head that starts at zero: several raw values per entry, on an axis of their own, float32 at least."""

    features: int
    outputs_per_entry: int
    dtype: Any = None
    bfloat16_products: bool = False
    wanted: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "... num_in"]) -> Float[Array, "... features outputs"]:
        """Apply the head to channels-last features."""
        zeros, features = nn.initializers.zeros, self.features * self.outputs_per_entry
        options: dict[str, Any] = {}
        if self.bfloat16_products or self.wanted is not None:
            options["dot_general"] = head_product(self.bfloat16_products, self.wanted, self.outputs_per_entry)
        raw = nn.Dense(features, kernel_init=zeros, bias_init=zeros, dtype=self.dtype, name="raw", **options)(x)
        raw = raw.astype(jnp.promote_types(raw.dtype, jnp.float32))
        return raw.reshape(*x.shape[:-1], self.features, self.outputs_per_entry)


def heads_for(
    features: int, outputs_per_entry: int, dtype: Any, bfloat16_products: bool = False, wanted: int | None = None
) -> nn.Module:
    """`Heads` for two outputs per entry, else `EntryHead`."""
    if outputs_per_entry == 2:
        return Heads(features, dtype, bfloat16_products, wanted, name="heads")
    return EntryHead(features, outputs_per_entry, dtype, bfloat16_products, wanted, name="heads")


class ConvConditioner(nn.Module):
    """1x1 convolution, residual blocks and two heads, on images.

    The blocks have equal shapes, so their parameters are stacked along a leading axis: one `lax.scan` step per block
    ("scan", short compilation) or the same loop unrolled ("unroll", fast gradients on CPU). The parameters are the
    same either way.

    Attributes:
      filters: Width of the residual stream.
      num_blocks: Number of residual blocks; 0 leaves only the first convolution.
      initialization: See `WeightNorm`.
      weight_norm: Whether hidden layers are weight-normalised.
      block_loop: "auto", "scan" or "unroll".
      gradient: Gradient of the convolutions, see `exflow.nn.convolution`.
      remat: Recompute each block in the backward pass instead of keeping its activations.
      bounded_features: Whether the network sees `with_bounded(x)` in place of x (not in the published models).
      compute_dtype: Type of activations and products (default: that of the input); parameters and outputs are float32
        at least.
      outputs_per_entry: 2: raw log-scale and shift, a pair; otherwise one array with an axis for the raw values behind.
    """

    filters: int
    num_blocks: int
    initialization: str = "original"
    weight_norm: bool = True
    block_loop: str = "auto"
    gradient: str = "auto"
    remat: bool = False
    bounded_features: bool = False
    compute_dtype: Any = None
    outputs_per_entry: int = 2

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"], context: None = None) -> Outputs:
        """Return the raw log-scale and the shift of every entry, or its raw values."""
        block_loop, options = self.resolved_options()
        hidden = elu(WeightNorm(self.filters, (1, 1), name="first", **options)(self.network_input(x)))
        if self.num_blocks:
            blocks = repeated(ConvBlock, self.num_blocks, block_loop, self.remat)
            hidden, _ = blocks(self.filters, options, name="blocks")(hidden, None)
        return heads_for(x.shape[-1], self.outputs_per_entry, self.compute_dtype)(hidden)

    @nn.nowrap
    def resolved_options(self) -> tuple[str, dict[str, Any]]:
        """Loop over the blocks, and options of every hidden layer."""
        block_loop = resolve_block_loop(self.block_loop, on_cpu="unroll")
        options = {
            "initialization": self.initialization,
            "normalize": self.weight_norm,
            "gradient": resolve_gradient(self.gradient, in_loop=block_loop == "scan"),
            "dtype": self.compute_dtype,
        }
        return block_loop, options

    @nn.nowrap
    def network_input(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """What the first layer sees of x."""
        return (with_bounded(x) if self.bounded_features else x).astype(self.compute_dtype or x.dtype)


class DenseConditioner(nn.Module):
    """Two hidden layers of ELU units and two heads, on vectors.

    Attributes:
      units: Width of both hidden layers.
      initialization: See `WeightNorm`.
      weight_norm: Whether hidden layers are weight-normalised.
      bounded_features: Whether the network sees `with_bounded(x)` in place of x (not in the published models).
      compute_dtype: Type of activations and products (default: that of the input); parameters and outputs are float32
        at least.
      bfloat16_products: Whether all products round their operands, see `exflow.nn.product`.
      outputs_per_entry: 2: raw log-scale and shift, a pair; otherwise one array with an axis for the raw values behind.
      passing: 0 or 1 where x is zero but at this entry and every second behind it, and only the outputs of the other
        entries count (those of the passing ones are arbitrary): the first and the last layer then take half the
        products in batches of `LEAST_ROWS`, as only half of their weights matter. None: any x, all outputs.
    """

    units: int
    initialization: str = "original"
    weight_norm: bool = True
    bounded_features: bool = False
    compute_dtype: Any = None
    bfloat16_products: bool = False
    outputs_per_entry: int = 2
    passing: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "batch dim"], context: None = None) -> Outputs:
        """Return the raw log-scale and the shift of every entry, or its raw values."""
        options, dim = self.resolved_options(), x.shape[-1]
        in_step = dim % 2 == 0  # `with_bounded` would put an odd number of entries out of step
        seen = self.passing if in_step and x.shape[0] >= LEAST_ROWS else None
        wanted = None if seen is None else 1 - seen
        hidden = elu(WeightNorm(self.units, name="first", seen=seen, **options)(self.network_input(x)))
        hidden = elu(WeightNorm(self.units, name="second", **options)(hidden))
        return heads_for(dim, self.outputs_per_entry, self.compute_dtype, self.bfloat16_products, wanted)(hidden)

    @nn.nowrap
    def resolved_options(self) -> dict[str, Any]:
        """Options of every hidden layer."""
        return {
            "initialization": self.initialization,
            "normalize": self.weight_norm,
            "dtype": self.compute_dtype,
            "bfloat16_products": self.bfloat16_products,
        }

    @nn.nowrap
    def network_input(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """What the first layer sees of x."""
        return (with_bounded(x) if self.bounded_features else x).astype(self.compute_dtype or x.dtype)

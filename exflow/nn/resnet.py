"""Conditioner networks of the couplings: residual convolutions for images, two hidden layers for vectors.

Both map a masked input to a raw log-scale and a shift of its shape. The coupling bounds the log-scale. Their last
layers start at zero, so that a flow starts as the identity. Source: Dinh et al. 2017, arXiv:1605.08803, section 3, with
the sizes of BRUNO (Korshunova et al. 2018).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from exflow.nn.convolution import GRADIENTS
from exflow.nn.weight_norm import WeightNorm

BLOCK_LOOPS = ("auto", "scan", "unroll")


def resolve_block_loop(block_loop: str) -> str:
    """Turn "auto" into "unroll" on CPU and "scan" on accelerators."""
    if block_loop not in BLOCK_LOOPS:
        raise ValueError(f"block_loop: expected one of {BLOCK_LOOPS}, got {block_loop!r}.")
    if block_loop == "auto":
        return "unroll" if jax.default_backend() == "cpu" else "scan"
    return block_loop


def resolve_gradient(gradient: str, block_loop: str) -> str:
    """Turn "auto" into "matmul" where CPU runs convolutions inside a loop, and into "plain" everywhere else."""
    if gradient not in ("auto", *GRADIENTS):
        raise ValueError(f"gradient: expected one of {('auto', *GRADIENTS)}, got {gradient!r}.")
    if gradient == "auto":
        return "matmul" if jax.default_backend() == "cpu" and block_loop == "scan" else "plain"
    return gradient


def with_bounded(x: Float[Array, "*batch channels"]) -> Float[Array, "*batch twice"]:
    """Append 2 tanh(x / 2) to the channels of x.

    On logit pixels this is the pixel value again, up to scale: the dequantization noise of a black pixel, which the
    logit spreads over several units, all but vanishes in it. Masked entries stay 0.
    """
    return jnp.concatenate([x, 2 * jnp.tanh(x / 2)], axis=-1)


class ResidualBlock(nn.Module):
    """ELU(x + conv(ELU(conv(x)))) with 3x3 convolutions, as `nn.scan` wants it: (carry, None) -> (carry, None)."""

    features: int
    layer_options: Mapping[str, Any]

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width features"], _: None) -> tuple[Array, None]:
        """Apply the block; the shape stays."""
        hidden = nn.elu(WeightNorm(self.features, (3, 3), name="first", **self.layer_options)(x))
        hidden = WeightNorm(self.features, (3, 3), name="second", **self.layer_options)(hidden)
        return nn.elu(x + hidden), None


class Heads(nn.Module):
    """Two linear heads without weight normalisation that start at zero: raw log-scale and shift, float32 at least."""

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "... num_in"]) -> tuple[Float[Array, "... out"], Float[Array, "... out"]]:
        """Apply both heads to channels-last features."""
        zeros = nn.initializers.zeros
        head = {"features": self.features, "kernel_init": zeros, "bias_init": zeros, "dtype": self.dtype}
        raw_log_scale = nn.Dense(name="log_scale", **head)(x)
        shift = nn.Dense(name="shift", **head)(x)
        output_dtype = jnp.promote_types(shift.dtype, jnp.float32)
        return raw_log_scale.astype(output_dtype), shift.astype(output_dtype)


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

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], context: None = None
    ) -> tuple[Float[Array, "batch height width channels"], Float[Array, "batch height width channels"]]:
        """Return the raw log-scale and the shift of every entry."""
        block_loop = resolve_block_loop(self.block_loop)
        options = {
            "initialization": self.initialization,
            "normalize": self.weight_norm,
            "gradient": resolve_gradient(self.gradient, block_loop),
            "dtype": self.compute_dtype,
        }
        inputs = (with_bounded(x) if self.bounded_features else x).astype(self.compute_dtype or x.dtype)
        hidden = nn.elu(WeightNorm(self.filters, (1, 1), name="first", **options)(inputs))
        if self.num_blocks:
            block = nn.remat(ResidualBlock) if self.remat else ResidualBlock
            blocks = nn.scan(
                block,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                length=self.num_blocks,
                unroll=max(2, self.num_blocks) if block_loop == "unroll" else 1,  # 1 would leave one block in a loop
            )
            hidden, _ = blocks(self.filters, options, name="blocks")(hidden, None)
        return Heads(x.shape[-1], self.compute_dtype, name="heads")(hidden)


class DenseConditioner(nn.Module):
    """Two hidden layers of ELU units and two heads, on vectors.

    Attributes:
      units: Width of both hidden layers.
      initialization: See `WeightNorm`.
      weight_norm: Whether hidden layers are weight-normalised.
      bounded_features: Whether the network sees `with_bounded(x)` in place of x (not in the published models).
      compute_dtype: Type of activations and products (default: that of the input); parameters and outputs are float32
        at least.
    """

    units: int
    initialization: str = "original"
    weight_norm: bool = True
    bounded_features: bool = False
    compute_dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch dim"], context: None = None
    ) -> tuple[Float[Array, "batch dim"], Float[Array, "batch dim"]]:
        """Return the raw log-scale and the shift of every entry."""
        options = {
            "initialization": self.initialization,
            "normalize": self.weight_norm,
            "dtype": self.compute_dtype,
        }
        inputs = (with_bounded(x) if self.bounded_features else x).astype(self.compute_dtype or x.dtype)
        hidden = nn.elu(WeightNorm(self.units, name="first", **options)(inputs))
        hidden = nn.elu(WeightNorm(self.units, name="second", **options)(hidden))
        return Heads(x.shape[-1], self.compute_dtype, name="heads")(hidden)

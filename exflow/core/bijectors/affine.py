"""Affine maps without parameters."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from exflow.core.bijectors.bijector import Bijector, no_params
from exflow.typing import Params


def scale(factor: float) -> Bijector:
    """Multiply every entry by `factor`: z = factor * x, log_det = dim * ln|factor|.

    Args:
      factor: Any finite number but zero; 1 / 256 maps dequantised pixels to [0, 1).

    Returns:
      A bijector without parameters.

    Raises:
      ValueError: `factor` is zero or not finite.
    """
    if not math.isfinite(factor) or factor == 0:
        raise ValueError(f"factor: expected a finite number other than zero, got {factor}. Use for example 1 / 256.")
    log_factor = math.log(abs(factor))

    def forward(params: Params, x: Float[Array, "batch *event"], context=None):
        return x * factor, jnp.full(x.shape[0], math.prod(x.shape[1:]) * log_factor, x.dtype)

    def inverse(params: Params, z: Float[Array, "batch *event"], context=None):
        return z / factor, jnp.full(z.shape[0], -math.prod(z.shape[1:]) * log_factor, z.dtype)

    return Bijector(no_params, forward, inverse)

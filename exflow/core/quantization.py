"""Between 8-bit pixels and continuous values, and the unit of published likelihoods."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from exflow.typing import PRNGKey


def dequantize(key: PRNGKey | None, x: UInt8[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Spread each pixel value over its unit interval: x + u with u ~ U[0, 1), or the midpoint without a key.

    Args:
      key: Randomness of the noise, or None for the midpoint x + 0.5 (deterministic, not a likelihood bound).
      x: Pixels, 0..255.

    Returns:
      float32 in [0, 256) with `quantize(result) == x` exactly: sums that float32 would round up to x + 1 are kept just
      below it.
    """
    pixel = x.astype(jnp.float32)
    if key is None:
        return pixel + 0.5
    noise = jax.random.uniform(key, x.shape, jnp.float32)
    return jnp.minimum(pixel + noise, jnp.nextafter(pixel + 1.0, jnp.zeros_like(pixel)))


def quantize(x: Float[Array, "*shape"]) -> UInt8[Array, "*shape"]:
    """The pixel whose unit interval holds x: floor, clipped to 0..255."""
    return jnp.clip(jnp.floor(x), 0, 255).astype(jnp.uint8)


def bits_per_dim(nats: Float[Array, "*lead"] | float, dim: int) -> Float[Array, "*lead"] | float:
    """Negative log density in nats of an example of `dim` entries -> bits per entry: nats / (dim ln 2)."""
    return nats / (dim * math.log(2.0))

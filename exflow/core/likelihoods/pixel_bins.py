"""8-bit pixels as 256 bins of the real line: their centres fill [-1, 1] and the outer two reach to infinity."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from exflow.core.ranges import at_least

HALF_BIN = 1.0 / 255.0  # half the distance of neighbouring centres
_EDGE = 0.999  # between the outermost centres and the ones next to them


def bin_centers(x: UInt8[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Pixels 0..255 -> centres x / 127.5 - 1 in [-1, 1]."""
    return x.astype(jnp.float32) / 127.5 - 1.0


def pixels(values: Float[Array, "*shape"]) -> UInt8[Array, "*shape"]:
    """The pixel in whose bin a real number lies."""
    return jnp.clip(jnp.round((values + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


def nearest_center(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The centre of the bin in which a real number lies."""
    return jnp.clip(jnp.round((values + 1.0) * 127.5), 0.0, 255.0) / 127.5 - 1.0


def log_bin_probability(
    values: Float[Array, "*#shape"],
    lower: Float[Array, "*#shape"],
    upper: Float[Array, "*#shape"],
    log_gap: Float[Array, "*#shape"],
) -> Float[Array, "..."]:
    """ln P(bin) from the logits of the distribution function at both ends of the bin; elementwise, nats.

    With a < b the logits, sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - e^(a - b)): a product, so that the
    logarithm and its gradient keep their digits where the difference of two float32 numbers has none left.

    Args:
      values: Centres of the bins.
      lower: a, the logit of the distribution function at centre - 1 / 255; not used in the lowest bin.
      upper: b, the same at centre + 1 / 255; not used in the highest bin.
      log_gap: ln(b - a), which callers know better than its terms; at most 80.

    Returns:
      Values of at most 0.
    """
    gap = jnp.exp(log_gap)
    small, large = jnp.minimum(gap, 1e-3), at_least(gap, 1e-3)  # both branches stay finite
    series = log_gap - small / 2.0 + small**2 / 24.0
    log_complement = jnp.where(gap < 1e-3, series, jnp.log(-jnp.expm1(-large)))  # ln(1 - e^(a - b))
    below_upper, above_lower = jax.nn.log_sigmoid(upper), jax.nn.log_sigmoid(-lower)
    inner = below_upper + above_lower + log_complement
    return jnp.where(values < -_EDGE, below_upper, jnp.where(values > _EDGE, above_lower, inner))

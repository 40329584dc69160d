"""Probabilities of 256 pixel values under a Gaussian on [-1, 1] whose distribution function is approximated by tanh.

Outputs are the means of all channels, then their log variances; values are bin centres (see `pixel_bins`).
The approximation Phi(u) = (1 + tanh(sqrt(2 / pi) (u + 0.044715 u^3))) / 2 is part of the model, because published
numbers use it. It is the sigmoid of a cubic, so that bins have the logits of a logistic law, and samples its inverse.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exflow.core.likelihoods.pixel_bins import HALF_BIN, log_bin_probability, nearest_center
from exflow.typing import PRNGKey

MAX_LOG_VARIANCE = 1.0
LOG_FLOOR = math.log(1e-12)  # of the probability of a pixel; its gradient is zero there
_MIN_LOG_VARIANCE = -30.0  # a standard deviation of 3e-7: float32 does not resolve x - mean any finer
_MAX_MEAN = 32.0  # over 18 standard deviations from every pixel: probabilities are 1 or at the floor; cubes stay finite
_SLOPE = 2.0 * math.sqrt(2.0 / math.pi)  # the logit of Phi is _SLOPE (u + _CUBIC u^3)
_CUBIC = 0.044715


def _moments(outputs: Array) -> tuple[Array, Array]:
    """Mean and log variance, in the ranges where they matter."""
    mean, log_variance = jnp.split(outputs, 2, axis=-1)
    return jnp.clip(mean, -_MAX_MEAN, _MAX_MEAN), jnp.clip(log_variance, _MIN_LOG_VARIANCE, MAX_LOG_VARIANCE)


def log_prob(
    outputs: Float[Array, "*#lead height width outputs"], values: Float[Array, "*#lead height width channels"]
) -> Float[Array, "..."]:
    """ln P(pixels), at least ln 1e-12 each, summed over an image; nats."""
    mean, log_variance = _moments(outputs)
    inverse_scale = jnp.exp(-0.5 * log_variance)
    lower, upper = ((values - mean + side) * inverse_scale for side in (-HALF_BIN, HALF_BIN))
    chord = 1.0 + _CUBIC * (upper**2 + upper * lower + lower**2)  # slope of u + _CUBIC u^3 between the two
    log_gap = jnp.log(2.0 * HALF_BIN * _SLOPE * inverse_scale * chord)
    lower_logit, upper_logit = (_SLOPE * (u + _CUBIC * u**3) for u in (lower, upper))
    log_probs = log_bin_probability(values, lower_logit, upper_logit, log_gap)
    return jnp.maximum(log_probs, LOG_FLOOR).sum(axis=(-3, -2, -1))


def mean(outputs: Float[Array, "*lead outputs"]) -> Float[Array, "*lead channels"]:
    """Mean of the Gaussian, clipped to [-1, 1]."""
    return jnp.clip(_moments(outputs)[0], -1.0, 1.0)


def sample(key: PRNGKey, outputs: Float[Array, "*lead outputs"]) -> Float[Array, "*lead channels"]:
    """Bin centres with exactly the probabilities of `log_prob` (without its floor).

    A logistic draw L is the logit of a uniform one; u + _CUBIC u^3 = L / _SLOPE is solved by sinh 3t = 3 sinh t +
    4 sinh^3 t.
    """
    mean, log_variance = _moments(outputs)
    root = math.sqrt(3.0 * _CUBIC)
    draw = jax.random.logistic(key, mean.shape, mean.dtype)
    u = 2.0 / root * jnp.sinh(jnp.arcsinh(1.5 * root / _SLOPE * draw) / 3.0)
    return nearest_center(mean + jnp.exp(0.5 * log_variance) * u)

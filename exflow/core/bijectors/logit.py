"""The logit map from the unit interval to the real line."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exflow.core.bijectors.bijector import Bijector, no_params
from exflow.typing import Params


def logit(alpha: float = 1e-5) -> Bijector:
    """Squeeze [0, 1] into [alpha / 2, 1 - alpha / 2], then take the logit.

    With y = alpha / 2 + (1 - alpha) x: z = ln y - ln(1 - y) and log_det = sum(-ln y - ln(1 - y) + ln(1 - alpha)).
    1 - y is computed from 1 - x, so that it keeps its digits near x = 1. The inverse of any real z exists; it leaves
    [0, 1] by at most alpha / (2 (1 - alpha)). Its log_det uses softplus and does not overflow.

    Args:
      alpha: Width removed from the interval, 0 < alpha < 1.

    Returns:
      A bijector without parameters.

    Raises:
      ValueError: `alpha` is outside (0, 1).

    Source: Dinh et al. 2017, arXiv:1605.08803, section 4.1; the term ln(1 - alpha) as in the BRUNO repository.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: expected a number between 0 and 1, got {alpha}. Use for example 1e-5.")
    log_slope = math.log1p(-alpha)

    def per_example(log_det):
        return log_det.reshape(log_det.shape[0], math.prod(log_det.shape[1:])).sum(axis=-1)

    def forward(params: Params, x: Float[Array, "batch *event"], context=None):
        log_y = jnp.log(alpha / 2 + (1 - alpha) * x)
        log_complement = jnp.log(alpha / 2 + (1 - alpha) * (1 - x))
        return log_y - log_complement, per_example(log_slope - log_y - log_complement)

    def inverse(params: Params, z: Float[Array, "batch *event"], context=None):
        x = (jax.nn.sigmoid(z) - alpha / 2) / (1 - alpha)
        return x, -per_example(log_slope + jax.nn.softplus(z) + jax.nn.softplus(-z))

    return Bijector(no_params, forward, inverse)

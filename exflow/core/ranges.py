"""Limits that keep a branch of a formula finite, and change no derivative where they are just reached.

`jnp.minimum`, `jnp.maximum` and `jnp.clip` halve the derivative at a tie: half of the derivative of a smooth function
that ends there for numerical reasons alone. NaN stays NaN.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def at_least(x: Float[Array, "*shape"], low: float) -> Float[Array, "*shape"]:
    """The larger of both; the derivative is that of x where x >= low, else 0."""
    return jnp.where(x < low, low, x)


def at_most(x: Float[Array, "*shape"], high: float) -> Float[Array, "*shape"]:
    """The smaller of both; the derivative is that of x where x <= high, else 0."""
    return jnp.where(x > high, high, x)

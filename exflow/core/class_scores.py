"""Log densities of all queries under all classes, which is what few-shot classification needs."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exflow.core.distributions import LOG_2_PI
from exflow.core.process import Density
from exflow.core.statistics import SetStatistics

BLOCK_ENTRIES = 1 << 22  # entries (query x class x dim) held at once
MAX_CANCELLATION = 64.0  # terms over result: two of the seven digits of float32


def log_probs_in_blocks(
    density: Density, params: Any, states: SetStatistics, queries: Float[Array, "*lead query dim"]
) -> Float[Array, "*lead query class"]:
    """`density` of every pair, some queries at a time so that memory stays bounded.

    Args:
      density: (params, state, z) -> log density, broadcasting over leading axes.
      params: Its parameters.
      states: One state per class; leading axes `[..., class]`.
      queries: Elements to score against all classes of the same leading index.

    Returns:
      Log densities, nats.
    """

    def score(query: Array) -> Array:  # [..., dim] -> [..., class]
        return density(params, states, query[..., jnp.newaxis, :])

    per_query = math.prod(states.mean.value.shape)
    batch_size = max(1, BLOCK_ENTRIES // max(1, per_query))
    by_query = jnp.moveaxis(queries, -2, 0)
    if len(by_query) <= batch_size:
        return jnp.moveaxis(jax.vmap(score)(by_query), 0, -2)
    return jnp.moveaxis(jax.lax.map(score, by_query, batch_size=batch_size), 0, -2)


def product(a: Float[Array, "*lead rows dim"], b: Float[Array, "*lead columns dim"]) -> Float[Array, "..."]:
    """a b', batched over leading axes, in full precision on every backend."""
    return jnp.einsum("...qd,...kd->...qk", a, b, precision=jax.lax.Precision.HIGHEST)


class Products(NamedTuple):
    """Log densities of pairs as differences of larger terms."""

    log_probs: Float[Array, "*lead query class"]
    magnitude: Float[Array, "*lead query class"]  # of the terms


def diagonal_gaussian_log_probs(
    mean: Float[Array, "*lead class dim"],
    variance: Float[Array, "*lead class dim"],
    queries: Float[Array, "*lead query dim"],
) -> Products:
    """ln N(query; mean, variance) of every pair as two matrix products: it is quadratic in the query.

    Both factors are centred on the average mean of the classes, which keeps float32 cancellation small unless a class
    lies far from the others; `unless_cancelled` looks.
    """
    centre = mean.mean(axis=-2, keepdims=True)
    rounding = (mean**2 / variance).sum(axis=-1)[..., jnp.newaxis, :] / MAX_CANCELLATION  # of the mean: second order
    mean, queries = mean - centre, queries - centre
    precision = 1.0 / variance
    squares = precision * mean**2
    constant = (LOG_2_PI + jnp.log(variance) + squares).sum(axis=-1)[..., jnp.newaxis, :]
    from_queries = product(queries**2, precision)
    log_probs = product(queries, precision * mean) - 0.5 * (from_queries + constant)
    return Products(log_probs, from_queries + squares.sum(axis=-1)[..., jnp.newaxis, :] + rounding)


def unless_cancelled(
    products: Products, density: Density, params: Any, states: SetStatistics, queries: Float[Array, "*lead query dim"]
) -> Float[Array, "*lead query class"]:
    """Log densities by matrix products, unless too much cancels in one of them: then all come from `density`.

    Args:
      products: Of all pairs.
      density: (params, state, z) -> the same log density without cancellation, broadcasting over leading axes.
      params: Its parameters.
      states: One state per class; leading axes `[..., class]`.
      queries: Elements to score against all classes of the same leading index.

    Returns:
      Log densities, nats.
    """
    log_probs, magnitude = jax.lax.stop_gradient(products)
    exact = (magnitude <= MAX_CANCELLATION * (jnp.abs(log_probs) + queries.shape[-1])).all()  # also False for NaN

    @jax.checkpoint
    def one_by_one(params: Any, states: SetStatistics, queries: Array) -> Array:
        return log_probs_in_blocks(density, params, states, queries).astype(products.log_probs.dtype)

    return jax.lax.cond(exact, lambda: products.log_probs, lambda: one_by_one(params, states, queries))

"""Log densities of all queries under all classes, which is what few-shot classification needs."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exflow.core.distributions import LOG_2_PI
from exflow.core.process import Density
from exflow.core.statistics import SetStatistics

BLOCK_ENTRIES = 1 << 22  # entries (query x class x dim) held at once


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


def diagonal_gaussian_log_probs(
    mean: Float[Array, "*lead class dim"],
    variance: Float[Array, "*lead class dim"],
    queries: Float[Array, "*lead query dim"],
) -> Float[Array, "*lead query class"]:
    """ln N(query; mean, variance) of every pair as two matrix products: it is quadratic in the query.

    Both factors are centred on the average mean of the classes, which keeps float32 cancellation small.
    """
    centre = mean.mean(axis=-2, keepdims=True)
    mean, queries = mean - centre, queries - centre
    precision = 1.0 / variance
    constant = (LOG_2_PI + jnp.log(variance) + precision * mean**2).sum(axis=-1)[..., jnp.newaxis, :]
    return product(queries, precision * mean) - 0.5 * (product(queries**2, precision) + constant)

"""Precision matrices of the factors of the low-rank process: small, and functions of the size of the set alone."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from exflow.core.statistics import with_rank


class FactorPrecision(NamedTuple):
    """Factorised precision matrix M of the factors given a set."""

    lower: Float[Array, "*lead rank rank"]  # Cholesky factor L
    inverse: Float[Array, "*lead rank rank"]  # L^-1
    half_log_det: Float[Array, "*lead"]  # ln det L


def contract(equation: str, *arrays: Array) -> Array:
    """`jnp.einsum` in full precision on every backend."""
    return jnp.einsum(equation, *arrays, precision=jax.lax.Precision.HIGHEST)


def factor_precision(
    loading: Float[Array, "dim rank"], ratio: Float[Array, " dim"], count: Int[Array, "*lead"]
) -> FactorPrecision:
    """M_N = 1 + b' diag(N / (1 + N r)) b for every count N: one matrix product, then Cholesky factors.

    Args:
      loading: b.
      ratio: r, at least 0.
      count: N.
    """
    dim, rank = loading.shape
    number = count.astype(loading.dtype)[..., jnp.newaxis]
    weight = number / (1.0 + number * with_rank(ratio, number.ndim))
    squares = (loading[:, :, jnp.newaxis] * loading[:, jnp.newaxis, :]).reshape(dim, rank * rank)
    matrix = contract("...d,dm->...m", weight, squares).reshape(*count.shape, rank, rank)
    return factorise(matrix + jnp.broadcast_to(jnp.eye(rank, dtype=matrix.dtype), matrix.shape))


def factorise(matrix: Float[Array, "*lead rank rank"]) -> FactorPrecision:
    """Cholesky factor L of small positive definite matrices, its inverse and ln det L, by elimination.

    L^-1 [M | 1] = [L' | L^-1], row by row. Vectorised over the leading axes, where LAPACK takes one matrix after the
    other; and called from several virtual CPU devices at once its batched routines can deadlock (jaxlib 0.10.2): each
    waits in a thread of the pool that the others need.
    """
    rank = matrix.shape[-1]
    rest = jnp.concatenate([matrix, jnp.broadcast_to(jnp.eye(rank, dtype=matrix.dtype), matrix.shape)], axis=-1)
    rows = []
    for j in range(rank):
        rows.append(rest[..., j, :] * jax.lax.rsqrt(rest[..., j, j : j + 1]))
        later = (np.arange(rank) > j).reshape((1,) * (matrix.ndim - 2) + (rank,))
        below = jnp.where(later, rows[-1][..., :rank], 0.0)
        rest = rest - below[..., :, jnp.newaxis] * rows[-1][..., jnp.newaxis, :]
    result = jnp.stack(rows, axis=-2) if rows else rest
    upper, inverse = jnp.triu(result[..., :rank]), result[..., rank:]
    half_log_det = jnp.log(jnp.diagonal(upper, axis1=-2, axis2=-1)).sum(axis=-1)
    return FactorPrecision(upper.swapaxes(-1, -2), inverse, half_log_det)


def solve(precision: FactorPrecision, x: Float[Array, "*#lead rank"]) -> Float[Array, "*out rank"]:
    """M^-1 x; leading axes broadcast."""
    return contract("...lk,...l->...k", precision.inverse, contract("...lk,...k->...l", precision.inverse, x))

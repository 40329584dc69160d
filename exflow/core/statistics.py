"""Sufficient statistics of a set under an exchangeable process: count, mean and scatter, exact in float32.

They form a commutative monoid: sets of statistics are added to, merged and reduced in any order. Means and scatters
are pairs of floats (value, low part), so that a float32 stream of a million elements loses nothing that matters.
None of this depends on the parameters of a process.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_SUM_BLOCK = 64  # a float32 sum of n terms is a tree of sums of at most this many


class SetStatistics(NamedTuple):
    """What a process remembers of a set of any size; the leading axes are sets.

    The mean is `mean + mean_low`, the scatter `scatter + scatter_low`. Both are zero for the empty set.
    """

    count: Int[Array, "*lead"]  # number of elements
    mean: Float[Array, "*lead dim"]  # mean of the elements, per dimension
    mean_low: Float[Array, "*lead dim"]  # what float rounding left out of `mean`
    scatter: Float[Array, "*lead dim"] | None  # sum of squared deviations from the mean; None: not kept
    scatter_low: Float[Array, "*lead dim"] | None


def with_rank(x: Array, ndim: int) -> Array:
    """Prepend axes of length one until `x` has `ndim` axes (rank promotion stays explicit)."""
    return x.reshape((1,) * (ndim - x.ndim) + x.shape)


def aligned(statistics: SetStatistics, ndim: int) -> SetStatistics:
    """The same statistics with arrays `[..., dim]` of rank `ndim` and counts of rank `ndim - 1`."""
    count = with_rank(statistics.count, ndim - 1)
    return SetStatistics(count, *(None if part is None else with_rank(part, ndim) for part in statistics[1:]))


def empty(shape: tuple[int, ...], dtype, with_scatter: bool) -> SetStatistics:
    """Statistics of no element; `shape` is `[..., dim]`."""
    zeros = jnp.zeros(shape, dtype)
    scatter = zeros if with_scatter else None
    return SetStatistics(jnp.zeros(shape[:-1], jnp.int32), zeros, zeros, scatter, scatter)


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b as (rounded sum, rounding error), exactly (Knuth); the error has derivative zero."""
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)


def _add_pair(high: Array, low: Array, increment: Array) -> tuple[Array, Array]:
    total, error = two_sum(high, increment)
    return two_sum(total, low + error)


def add(
    statistics: SetStatistics, z: Float[Array, "*lead dim"], mask: Bool[Array, "*lead"] | None = None
) -> SetStatistics:
    """Statistics of the set and one more element each; where `mask` is False nothing changes."""
    statistics = aligned(statistics, max(z.ndim, statistics.mean.ndim))
    z = with_rank(z, statistics.mean.ndim)
    present = jnp.ones(z.shape[:-1], jnp.int32)
    if mask is not None:
        present = with_rank(mask, z.ndim - 1).astype(jnp.int32)
        z = jnp.where(present[..., jnp.newaxis] > 0, z, 0.0)
    count = statistics.count + present
    old_count = statistics.count.astype(z.dtype)[..., jnp.newaxis]
    weight = (present.astype(z.dtype) / jnp.maximum(count, 1).astype(z.dtype))[..., jnp.newaxis]
    deviation = (z - statistics.mean) - statistics.mean_low
    mean = _add_pair(statistics.mean, statistics.mean_low, deviation * weight)
    if statistics.scatter is None:
        return SetStatistics(count, *mean, None, None)
    return SetStatistics(
        count, *mean, *_add_pair(statistics.scatter, statistics.scatter_low, deviation**2 * (old_count * weight))
    )


def remove(statistics: SetStatistics, z: Float[Array, "*lead dim"]) -> SetStatistics:
    """Statistics of the set without the element `z`, which must be in it; removing the last one gives the empty set."""
    statistics = aligned(statistics, max(z.ndim, statistics.mean.ndim))
    z = with_rank(z, statistics.mean.ndim)
    count = jnp.maximum(statistics.count - 1, 0)
    kept = jnp.broadcast_to((count > 0)[..., jnp.newaxis], jnp.broadcast_shapes(z.shape, statistics.mean.shape))
    weight = 1.0 / jnp.maximum(count, 1).astype(z.dtype)[..., jnp.newaxis]
    deviation = (z - statistics.mean) - statistics.mean_low
    mean = _add_pair(statistics.mean, statistics.mean_low, -deviation * weight)
    parts = list(mean)
    if statistics.scatter is not None:
        high, low = _add_pair(statistics.scatter, statistics.scatter_low, -(deviation**2) * (1.0 + weight))
        valid = high >= 0  # rounding must not make it negative
        parts += [jnp.where(valid, high, 0.0), jnp.where(valid, low, 0.0)]
    parts = [jnp.where(kept, part, 0.0) for part in parts]
    return SetStatistics(jnp.broadcast_to(count, kept.shape[:-1]), *parts, *([None] * (4 - len(parts))))


def merge(a: SetStatistics, b: SetStatistics) -> SetStatistics:
    """Statistics of the union of two disjoint sets; either may be empty."""
    ndim = max(a.mean.ndim, b.mean.ndim)
    a, b = aligned(a, ndim), aligned(b, ndim)
    count = a.count + b.count
    dtype = jnp.result_type(a.mean, b.mean)
    weight = (b.count.astype(dtype) / jnp.maximum(count, 1).astype(dtype))[..., jnp.newaxis]
    difference, difference_low = b.mean - a.mean, b.mean_low - a.mean_low
    mean = _add_pair(a.mean, a.mean_low + difference_low * weight, difference * weight)
    if a.scatter is None or b.scatter is None:
        return SetStatistics(count, *mean, None, None)
    between = (difference + difference_low) ** 2 * (a.count.astype(dtype)[..., jnp.newaxis] * weight)
    high, error = two_sum(a.scatter, b.scatter)
    low = error + a.scatter_low + b.scatter_low
    return SetStatistics(count, *mean, *_add_pair(high, low, between))


def sum_over_set(x: Float[Array, "*lead set dim"]) -> Float[Array, "*lead dim"]:
    """Sum over the set axis as a tree, so that float32 rounding grows with the logarithm of the set size."""
    while x.shape[-2] > _SUM_BLOCK:
        *lead, size, dim = x.shape
        blocks = -(-size // _SUM_BLOCK)
        padding = [(0, 0)] * len(lead) + [(0, blocks * _SUM_BLOCK - size), (0, 0)]
        x = jnp.pad(x, padding).reshape(*lead, blocks, _SUM_BLOCK, dim).sum(axis=-2)
    return x.sum(axis=-2)


def of_set(
    z_set: Float[Array, "*lead set dim"], mask: Bool[Array, "*lead set"] | None, with_scatter: bool
) -> SetStatistics:
    """Statistics of whole sets at once; masked elements may hold anything, NaN included."""
    present = jnp.ones(z_set.shape[:-1], jnp.bool_) if mask is None else mask
    column = present[..., jnp.newaxis]
    count = present.sum(axis=-1, dtype=jnp.int32)
    scale = 1.0 / jnp.maximum(count, 1).astype(z_set.dtype)[..., jnp.newaxis]
    centre = sum_over_set(jnp.where(column, z_set, 0.0)) * scale
    deviation = jnp.where(column, z_set, centre[..., jnp.newaxis, :]) - centre[..., jnp.newaxis, :]
    correction = sum_over_set(deviation) * scale
    mean = two_sum(centre, correction)
    if not with_scatter:
        return SetStatistics(count, *mean, None, None)
    deviation = jnp.where(column, deviation - correction[..., jnp.newaxis, :], 0.0)
    return SetStatistics(count, *mean, sum_over_set(deviation**2), jnp.zeros_like(centre))


def before_each(
    z_set: Float[Array, "*lead set dim"], mask: Bool[Array, "*lead set"] | None, with_scatter: bool
) -> SetStatistics:
    """Statistics of the elements before each one: leading axes `[..., set]`; two exclusive prefix sums.

    Deviations are taken from the first present element: a shift changes nothing mathematically, keeps the digits when
    a set lies far from the origin, and unlike the set mean it does not look ahead. Entries equal along leading axes
    may come with length one there.
    """
    if mask is None:
        present = jnp.ones((1,) * (z_set.ndim - 2) + z_set.shape[-2:-1], jnp.int32)
        first = z_set[..., :1, :]
    else:
        present = mask.astype(jnp.int32)
        z_set = jnp.where(mask[..., jnp.newaxis], z_set, 0.0)
        index = jnp.argmax(mask, axis=-1)[..., jnp.newaxis, jnp.newaxis]
        first = jnp.take_along_axis(z_set, index, axis=-2)
    first = jax.lax.stop_gradient(first)
    column = present[..., jnp.newaxis].astype(z_set.dtype)
    deviation = (z_set - first) * column
    count = jnp.cumsum(present, axis=-1) - present
    old_count = count[..., jnp.newaxis].astype(z_set.dtype)
    mean_low = _exclusive_cumsum(deviation) / jnp.maximum(old_count, 1.0)
    if not with_scatter:
        return SetStatistics(count, first, mean_low, None, None)
    increment = (deviation - mean_low) ** 2 * (column * old_count / (old_count + 1.0))
    return SetStatistics(count, first, mean_low, _exclusive_cumsum(increment), jnp.zeros_like(first))


def without_each(
    z_set: Float[Array, "*lead set dim"], mask: Bool[Array, "*lead set"] | None, with_scatter: bool
) -> SetStatistics:
    """Statistics of all other elements, for each one: leading axes `[..., set]`.

    Prefixes and suffixes are merged instead of subtracting the element from the total, so that an outlier leaves no
    rounding error in the statistics of the others.
    """
    before = before_each(z_set, mask, with_scatter)
    flipped_mask = None if mask is None else jnp.flip(mask, axis=-1)
    after = before_each(jnp.flip(z_set, axis=-2), flipped_mask, with_scatter)
    parts = [None if part is None else jnp.flip(part, axis=-2) for part in after[1:]]
    return merge(before, SetStatistics(jnp.flip(after.count, axis=-1), *parts))


def _exclusive_cumsum(x: Float[Array, "*lead set dim"]) -> Float[Array, "*lead set dim"]:
    shifted = jnp.concatenate([jnp.zeros_like(x[..., :1, :]), x[..., :-1, :]], axis=-2)
    return jnp.cumsum(shifted, axis=-2)

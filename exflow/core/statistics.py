"""Sufficient statistics of a set under an exchangeable process: count, mean and scatter, exact in float32.

They form a commutative monoid: statistics are added to, merged and reduced in any order. Means and scatters carry
their rounding errors along, so that a float32 stream of a million elements loses nothing that matters. None of this
depends on the parameters of a process.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_SUM_BLOCK = 64  # a float32 sum of n terms is a tree of sums of at most this many


class Compensated(NamedTuple):
    """The sum of two floats: a value and what rounding left out of it."""

    value: Float[Array, "*lead dim"]
    low: Float[Array, "*lead dim"]


class SetStatistics(NamedTuple):
    """What a process remembers of a set of any size; the leading axes are sets. The empty set is all zeros."""

    count: Int[Array, "*lead"]  # number of elements
    mean: Compensated  # mean of the elements, per dimension
    scatter: Compensated | None  # sum of squared deviations from the mean; None: not kept

    @property
    def ndim(self) -> int:
        """Number of leading axes plus one."""
        return self.mean.value.ndim


def with_rank(x: Array, ndim: int) -> Array:
    """Prepend axes of length one until `x` has `ndim` axes (rank promotion stays explicit)."""
    return x.reshape((1,) * (ndim - x.ndim) + x.shape)


def aligned(statistics: SetStatistics, ndim: int) -> SetStatistics:
    """The same statistics with arrays `[..., dim]` of rank `ndim` and counts of rank `ndim - 1`."""
    mean, scatter = jax.tree.map(lambda part: with_rank(part, ndim), (statistics.mean, statistics.scatter))
    return SetStatistics(with_rank(statistics.count, ndim - 1), mean, scatter)


def empty(shape: tuple[int, ...], dtype, with_scatter: bool) -> SetStatistics:
    """Statistics of no element; `shape` is `[..., dim]`."""
    zeros = Compensated(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))
    return SetStatistics(jnp.zeros(shape[:-1], jnp.int32), zeros, zeros if with_scatter else None)


def two_sum(a: Array, b: Array) -> Compensated:
    """a + b as rounded sum and rounding error, exactly (Knuth); the error has derivative zero."""
    total = a + b
    b_part = total - a
    return Compensated(total, (a - (total - b_part)) + (b - b_part))


def _plus(a: Compensated, increment: Array, increment_low: Array | None = None) -> Compensated:
    total, error = two_sum(a.value, increment)
    low = a.low if increment_low is None else a.low + increment_low
    return two_sum(total, low + error)


def add(
    statistics: SetStatistics, z: Float[Array, "*lead dim"], mask: Bool[Array, "*lead"] | None = None
) -> SetStatistics:
    """Statistics of the set and one more element each; where `mask` is False nothing changes."""
    ndim = max(z.ndim, statistics.ndim)
    statistics, z = aligned(statistics, ndim), with_rank(z, ndim)
    present = jnp.ones(z.shape[:-1], jnp.int32)
    if mask is not None:
        present = with_rank(mask, ndim - 1).astype(jnp.int32)
        z = jnp.where(present[..., jnp.newaxis] > 0, z, 0.0)
    count = statistics.count + present
    old_count = statistics.count.astype(z.dtype)[..., jnp.newaxis]
    weight = (present.astype(z.dtype) / jnp.maximum(count, 1).astype(z.dtype))[..., jnp.newaxis]
    deviation = (z - statistics.mean.value) - statistics.mean.low
    mean = _plus(statistics.mean, deviation * weight)
    if statistics.scatter is None:
        return SetStatistics(count, mean, None)
    return SetStatistics(count, mean, _plus(statistics.scatter, deviation**2 * (old_count * weight)))


def remove(statistics: SetStatistics, z: Float[Array, "*lead dim"]) -> SetStatistics:
    """Statistics of the set without the element `z`, which must be in it; without the last one it is empty."""
    ndim = max(z.ndim, statistics.ndim)
    statistics, z = aligned(statistics, ndim), with_rank(z, ndim)
    lead = jnp.broadcast_shapes(z.shape, statistics.mean.value.shape)[:-1]
    count = jnp.broadcast_to(jnp.maximum(statistics.count - 1, 0), lead)
    weight = 1.0 / jnp.maximum(count, 1).astype(z.dtype)[..., jnp.newaxis]
    deviation = (z - statistics.mean.value) - statistics.mean.low
    mean, scatter = _plus(statistics.mean, -deviation * weight), statistics.scatter
    if scatter is not None:
        reduced = _plus(scatter, -(deviation**2) * (1.0 + weight))
        scatter = jax.tree.map(lambda part: jnp.where(reduced.value >= 0, part, 0.0), reduced)  # not below zero
    nonempty = (count > 0)[..., jnp.newaxis]
    mean, scatter = jax.tree.map(lambda part: jnp.where(nonempty, part, 0.0), (mean, scatter))
    return SetStatistics(count, mean, scatter)


def merge(a: SetStatistics, b: SetStatistics) -> SetStatistics:
    """Statistics of the union of two disjoint sets; either may be empty."""
    ndim = max(a.ndim, b.ndim)
    a, b = aligned(a, ndim), aligned(b, ndim)
    count = a.count + b.count
    dtype = jnp.result_type(a.mean.value, b.mean.value)
    weight = (b.count.astype(dtype) / jnp.maximum(count, 1).astype(dtype))[..., jnp.newaxis]
    difference, difference_low = b.mean.value - a.mean.value, b.mean.low - a.mean.low
    mean = _plus(a.mean, difference * weight, difference_low * weight)
    if a.scatter is None or b.scatter is None:
        return SetStatistics(count, mean, None)
    between = (difference + difference_low) ** 2 * (a.count.astype(dtype)[..., jnp.newaxis] * weight)
    return SetStatistics(count, mean, _plus(_plus(a.scatter, b.scatter.value, b.scatter.low), between))


def _blocks(x: Float[Array, "*lead set dim"]) -> Float[Array, "*lead block position dim"]:
    """The set axis cut into blocks of `_SUM_BLOCK`, padded with zeros."""
    *lead, size, dim = x.shape
    number = -(-size // _SUM_BLOCK)
    padding = [(0, 0)] * len(lead) + [(0, number * _SUM_BLOCK - size), (0, 0)]
    return jnp.pad(x, padding).reshape(*lead, number, _SUM_BLOCK, dim)


def sum_over_set(x: Float[Array, "*lead set dim"]) -> Float[Array, "*lead dim"]:
    """Sum over the set axis as a tree, so that float32 rounding grows with the logarithm of the set size."""
    while x.shape[-2] > _SUM_BLOCK:
        x = _blocks(x).sum(axis=-2)
    return x.sum(axis=-2)


def exclusive_cumsum(x: Float[Array, "*lead set dim"]) -> Float[Array, "*lead set dim"]:
    """Sums of the elements before each one; in float32 the error grows with the logarithm of the set size.

    On CPU a scan over the positions in blocks, then the same over the sums of blocks: two to three times faster there
    than `jnp.cumsum`, which serves the accelerators.
    """
    if jax.default_backend() != "cpu":
        shifted = jnp.concatenate([jnp.zeros_like(x[..., :1, :]), x[..., :-1, :]], axis=-2)
        return jnp.cumsum(shifted, axis=-2)
    size = x.shape[-2]
    if size <= _SUM_BLOCK:
        steps = jnp.moveaxis(x, -2, 0)
        _, sums = jax.lax.scan(lambda total, step: (total + step, total), jnp.zeros_like(steps[0]), steps)
        return jnp.moveaxis(sums, 0, -2)
    blocks = _blocks(x)
    sums = exclusive_cumsum(blocks) + exclusive_cumsum(blocks.sum(axis=-2))[..., jnp.newaxis, :]
    return sums.reshape(*x.shape[:-2], -1, x.shape[-1])[..., :size, :]


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
        return SetStatistics(count, mean, None)
    deviation = jnp.where(column, deviation - correction[..., jnp.newaxis, :], 0.0)
    return SetStatistics(count, mean, Compensated(sum_over_set(deviation**2), jnp.zeros_like(centre)))


def before_each(
    z_set: Float[Array, "*lead set dim"], mask: Bool[Array, "*lead set"] | None, with_scatter: bool
) -> SetStatistics:
    """Statistics of the elements before each one: leading axes `[..., set]`; two exclusive prefix sums.

    Deviations are taken from the first present element: a shift changes nothing mathematically, keeps the digits when
    a set lies far from the origin, and unlike the set mean it does not look ahead. Entries equal along leading axes
    may come with length one there. The set must not have length zero.
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
    mean = Compensated(first, exclusive_cumsum(deviation) / jnp.maximum(old_count, 1.0))
    if not with_scatter:
        return SetStatistics(count, mean, None)
    increment = (deviation - mean.low) ** 2 * (column * old_count / (old_count + 1.0))
    return SetStatistics(count, mean, Compensated(exclusive_cumsum(increment), jnp.zeros_like(first)))


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
    mean, scatter = jax.tree.map(lambda part: jnp.flip(part, axis=-2), (after.mean, after.scatter))
    return merge(before, SetStatistics(jnp.flip(after.count, axis=-1), mean, scatter))

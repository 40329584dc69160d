"""Seeds of the noise of elements: functions of what is in a set, so that order, padding and batch do not matter."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt32


def content_seeds(values: Float[Array, "num ..."]) -> UInt32[Array, " num"]:
    """A number per element that depends on its values alone: a product of their mixed bits with fixed odd numbers."""
    bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32).reshape(
        len(values), math.prod(values.shape[1:])
    )
    odd = np.random.default_rng(0).integers(0, 2**32, bits.shape[1], dtype=np.uint32) | np.uint32(1)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):  # round numbers such as 1.0 have only high bits
        bits = (bits ^ (bits >> shift)) * jnp.uint32(factor)
    return ((bits ^ (bits >> 16)) * jnp.asarray(odd)[None]).sum(axis=1, dtype=jnp.uint32)


def distinct_seeds(seeds: UInt32[Array, "batch set"], mask: Bool[Array, "batch set"]) -> UInt32[Array, "batch set"]:
    """Seeds of which no two of a set are equal: the k-th of equal elements, k = 0, 1, ..., adds k times an odd number.

    With one seed equal elements would share their latents, and importance weights would not be those of a bound.
    """
    order = jnp.lexsort((~mask, seeds))  # of equal seeds those of elements that exist come first
    ordered = jnp.take_along_axis(seeds, order, axis=1)
    place = jnp.broadcast_to(jnp.arange(seeds.shape[1], dtype=jnp.uint32), seeds.shape)
    first = jnp.where(ordered != jnp.roll(ordered, 1, axis=1), place, 0)
    rank = place - jax.lax.cummax(first, axis=1)
    return seeds + jnp.take_along_axis(rank, jnp.argsort(order, axis=1), axis=1) * jnp.uint32(0x9E3779B1)

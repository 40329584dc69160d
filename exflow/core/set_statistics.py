"""Aggregates of sets: of whole sets at once, and as states of fixed size that take elements one after the other.

An aggregate is the mean, the maximum, or the mean weighted by attention with a query that knows nothing of the set.
A state is what a stream of elements leaves behind: `init`, `update`, `merge` and for the mean `remove` keep it, in any
order, and `finalize` gives the aggregate. Attention keeps, per head, a running maximum, normaliser and weighted sum
(Milakov & Gimelshein 2018, arXiv:1805.02867, algorithm 3). Sums carry their rounding errors along, so that a float32
stream of any length gives what the whole set gives.

Attention whose query is the mean of the elements (LAG) has no such state. Its sums are sum_s exp(q'k_s) v_s with a q
that every further element moves: the state would have to hold this sum for every q that may come, and as a function of
q it tells any two collections of keys and values apart. Models with LAG keep the elements and aggregate anew.

Elements are arrays `[*batch, set, *event]` with a mask `[*batch, set]`. Those that the mask leaves out may hold
anything, NaN included, and get gradients of exactly zero. The aggregate of the empty set is zero.
"""

import math
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from exflow.core.statistics import Compensated, sum_over_set, two_sum


class MeanState(NamedTuple):
    """What the mean needs."""

    total: Compensated  # sum of the elements, [*batch, *event]
    count: Int[Array, "*batch"]


class MaxState(NamedTuple):
    """What the largest value of every entry needs."""

    maximum: Float[Array, "..."]  # [*batch, *event]; -inf for the empty set
    count: Int[Array, "*batch"]


class AttentionState(NamedTuple):
    """What attention with a fixed query needs; the channels are divided among the heads."""

    maximum: Float[Array, "*batch head"]  # least integer not below any logit; -inf for the empty set
    normalizer: Compensated  # sum of exp(logit - maximum), [*batch, head]
    total: Compensated  # sum of exp(logit - maximum) value, [*batch, *event]
    count: Int[Array, "*batch"]


STATES = {"mean": MeanState, "max": MaxState, "learned_query": AttentionState}  # kinds with a state of fixed size
State = MeanState | MaxState | AttentionState
AnyState = TypeVar("AnyState", MeanState, MaxState, AttentionState)


def masked_mean(features: Float[Array, "..."], mask: Bool[Array, "*batch set"]) -> Float[Array, "..."]:
    """Mean over the set, `[*batch, *event]`; zero for the empty set."""
    present, event = with_mask(features, mask), features.shape[mask.ndim :]
    total = sum_over_set(present.reshape(*mask.shape, math.prod(event)))
    mean = total / jnp.maximum(mask.sum(axis=-1), 1).astype(total.dtype)[..., jnp.newaxis]
    return mean.reshape(*mask.shape[:-1], *event)


def masked_max(features: Float[Array, "..."], mask: Bool[Array, "*batch set"]) -> Float[Array, "..."]:
    """Largest value of every entry over the set, `[*batch, *event]`; zero for the empty set."""
    return finalize(_max_state(with_mask(features, mask), mask))


def masked_softmax(
    logits: Float[Array, "*batch head set"], mask: Bool[Array, "*batch set"]
) -> Float[Array, "*batch head set"]:
    """Weights that sum to one over the elements of a set, or are all zero where there are none."""
    logits = jnp.where(mask[..., jnp.newaxis, :], logits, -jnp.inf)
    largest = jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True, initial=-jnp.inf))
    weights = jnp.exp(logits - _finite(largest))
    normalizer = weights.sum(axis=-1, keepdims=True)
    return weights / jnp.where(normalizer > 0, normalizer, 1.0)


def with_mask(features: Float[Array, "..."], mask: Bool[Array, "*batch set"]) -> Float[Array, "..."]:
    """The elements, with zeros for those that do not exist, in float32 at least.

    Raises:
      ValueError: There is not one bool per element.
    """
    if features.ndim <= mask.ndim or features.shape[: mask.ndim] != mask.shape:
        raise ValueError(
            f"features: expected {list(mask.shape)} as the mask and then the shape of an element, got "
            f"{list(features.shape)}. Give one bool per element."
        )
    features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
    return jnp.where(_with_trailing_axes(mask, features.ndim), features, 0.0)


def check_heads(channels: int, num_heads: int) -> None:
    """Raise ValueError unless the heads divide the channels."""
    if num_heads < 1 or channels % num_heads:
        raise ValueError(
            f"num_heads: expected a divisor of the {channels} channels, got {num_heads}. Change either, for example "
            f"to {-(-channels // max(num_heads, 1)) * max(num_heads, 1)} channels."
        )


def init(
    kind: str, event_shape: tuple[int, ...], batch_shape: tuple[int, ...] = (), num_heads: int = 1, dtype=None
) -> State:
    """The state of empty sets.

    Args:
      kind: "mean", "max" or "learned_query" (attention with a fixed query).
      event_shape: Shape of one element, channels last.
      batch_shape: Shape of the array of sets; () for one set.
      num_heads: Number of heads of attention.
      dtype: Of the sums; None: JAX's default.

    Raises:
      ValueError: There is no state of this kind, or the heads do not divide the channels.
    """
    if kind == "attention":
        raise ValueError(
            "kind: expected an aggregate whose state has a fixed size, got 'attention', whose query depends on the "
            "mean of all elements. Keep the elements and aggregate anew, or use 'learned_query'."
        )
    if kind not in STATES:
        raise ValueError(f"kind: expected one of {tuple(STATES)}, got {kind!r}.")
    zeros, count = jnp.zeros((*batch_shape, *event_shape), dtype), jnp.zeros(batch_shape, jnp.int32)
    if kind == "mean":
        return MeanState(_exact(zeros), count)
    if kind == "max":
        return MaxState(jnp.full_like(zeros, -jnp.inf), count)
    check_heads(event_shape[-1], num_heads)
    per_head = jnp.zeros((*batch_shape, num_heads), zeros.dtype)
    return AttentionState(jnp.full_like(per_head, -jnp.inf), _exact(per_head), _exact(zeros), count)


def update(
    state: AnyState,
    features: Float[Array, "..."],
    mask: Bool[Array, "*batch set"],
    logits: Float[Array, "*batch head set"] | None = None,
) -> AnyState:
    """The state of the sets with further elements, any number at once.

    Args:
      state: Of the elements so far.
      features: Further elements `[*batch, set, *event]`; for an `AttentionState` their values.
      mask: Which of them exist.
      logits: Their attention logits; for an `AttentionState` only.

    Raises:
      ValueError: Shapes do not fit the state.
    """
    entries = state.maximum if isinstance(state, MaxState) else state.total.value
    batch, event = state.count.shape, entries.shape[state.count.ndim :]
    if mask.shape[:-1] != batch or features.shape[mask.ndim :] != event:
        expected = ", ".join(map(str, (*batch, "set", *event)))
        raise ValueError(
            f"features: expected [{expected}] and a mask without the last {len(event)} axes, got {features.shape} and "
            f"{mask.shape}. Add a set axis to single elements."
        )
    present = with_mask(features, mask).astype(entries.dtype)
    if isinstance(state, MeanState):
        return merge(state, _mean_state(present, mask))
    if isinstance(state, MaxState):
        return merge(state, _max_state(present, mask))
    expected = (*state.maximum.shape, mask.shape[-1])
    if logits is None or logits.shape != expected:
        got = None if logits is None else logits.shape
        raise ValueError(f"logits: expected {expected}, got {got}. Give one per head and element.")
    return merge(state, _attention_state(present, mask, logits.astype(entries.dtype)))


def remove(state: State, features: Float[Array, "..."], mask: Bool[Array, "*batch set"]) -> MeanState:
    """The state of the sets without elements that are in them; of the mean alone.

    Args:
      state: Of the elements so far.
      features: Elements `[*batch, set, *event]` that `state` has seen.
      mask: Which of them to remove.

    Raises:
      ValueError: The state cannot forget: the largest value of the others is not known any more, and the attention
        sums of the others may lie below the rounding error of sums that the element dominates.
    """
    if not isinstance(state, MeanState):
        reason = (
            "the maximum does not tell the largest value of the other elements"
            if isinstance(state, MaxState)
            else "an element with a large logit leaves nothing but rounding errors of the others' sums behind"
        )
        raise ValueError(
            f"state: expected a MeanState, got {type(state).__name__}: {reason}. Update the empty state with the "
            "elements that stay."
        )
    gone = _mean_state(with_mask(features, mask).astype(state.total.value.dtype), mask)
    count = jnp.maximum(state.count - gone.count, 0)
    total = _plus(state.total, jax.tree.map(jnp.negative, gone.total))
    nonempty = _with_trailing_axes(count > 0, total.value.ndim)
    return MeanState(jax.tree.map(lambda part: jnp.where(nonempty, part, 0.0), total), count)


def merge(a: AnyState, b: AnyState) -> AnyState:
    """The state of the unions of disjoint sets; both of one kind and shape."""
    count = a.count + b.count
    if isinstance(a, MeanState) and isinstance(b, MeanState):
        return MeanState(_plus(a.total, b.total), count)
    if isinstance(a, MaxState) and isinstance(b, MaxState):
        return MaxState(jnp.maximum(a.maximum, b.maximum), count)
    if isinstance(a, AttentionState) and isinstance(b, AttentionState):
        maximum = jnp.maximum(a.maximum, b.maximum)
        a, b = _rescaled(a, maximum), _rescaled(b, maximum)
        return AttentionState(maximum, _plus(a.normalizer, b.normalizer), _plus(a.total, b.total), count)
    raise ValueError(f"a, b: expected states of one kind, got {type(a).__name__} and {type(b).__name__}.")


def finalize(state: State) -> Float[Array, "..."]:
    """The aggregate `[*batch, *event]`; zero for the empty set."""
    if isinstance(state, MaxState):
        return _finite(state.maximum)
    total = state.total.value + state.total.low
    if isinstance(state, MeanState):
        return total / _with_trailing_axes(jnp.maximum(state.count, 1).astype(total.dtype), total.ndim)
    normalizer = _per_channel(state.normalizer.value + state.normalizer.low, total)
    return total / jnp.where(normalizer > 0, normalizer, 1.0)


def _mean_state(present: Array, mask: Array) -> MeanState:
    """The state of whole sets; here and below absent elements are zero."""
    return MeanState(_compensated_sum(jnp.moveaxis(present, mask.ndim - 1, 0)), _count(mask))


def _max_state(present: Array, mask: Array) -> MaxState:
    present = jnp.where(_with_trailing_axes(mask, present.ndim), present, -jnp.inf)
    return MaxState(present.max(axis=mask.ndim - 1, initial=-jnp.inf), _count(mask))


def _attention_state(present: Array, mask: Array, logits: Array) -> AttentionState:
    logits = jnp.where(mask[..., jnp.newaxis, :], logits, -jnp.inf)
    # Rounded up, so that it changes by factors of e or more: what rescaling rounds off is soon worth nothing.
    maximum = jnp.ceil(logits.max(axis=-1, initial=-jnp.inf))
    weights = jnp.exp(logits - _finite(maximum)[..., jnp.newaxis])
    *spatial, channels = event = present.shape[mask.ndim :]
    heads = weights.shape[-2]
    values = present.reshape(*mask.shape, math.prod(spatial), heads, channels // heads)
    total = jnp.einsum("...hs,...sphd->...phd", weights, values).reshape(*mask.shape[:-1], *event)
    return AttentionState(maximum, _exact(weights.sum(axis=-1)), _exact(total), _count(mask))


def _rescaled(state: AttentionState, maximum: Array) -> AttentionState:
    """The same sums relative to another maximum, not below the state's."""
    factor = jnp.exp(state.maximum - _finite(maximum))
    normalizer = jax.tree.map(lambda part: part * factor, state.normalizer)
    total = jax.tree.map(lambda part: part * _per_channel(factor, part), state.total)
    return AttentionState(maximum, normalizer, total, state.count)


def _per_channel(per_head: Float[Array, "*batch head"], like: Float[Array, "..."]) -> Array:
    """One number per head as one per channel, with axes of length one for what lies between batch and channels."""
    *batch, heads = per_head.shape
    repeated = jnp.repeat(per_head, like.shape[-1] // heads, axis=-1)
    return repeated.reshape(*batch, *(1,) * (like.ndim - per_head.ndim), like.shape[-1])


def _compensated_sum(x: Float[Array, "set *rest"]) -> Compensated:
    """Sum over the first axis with all its rounding errors: halves are added until one is left."""
    size = 1 << max(len(x) - 1, 0).bit_length()
    value = jnp.pad(x, [(0, size - len(x))] + [(0, 0)] * (x.ndim - 1))
    total = _exact(value)
    while size > 1:
        size //= 2
        halves = (jax.tree.map(lambda part, keep=keep: part[keep], total) for keep in (slice(size), slice(size, None)))
        total = _plus(*halves)
    return jax.tree.map(lambda part: part[0], total)


def _plus(a: Compensated, b: Compensated) -> Compensated:
    """Sum with its rounding error, whose derivative is zero."""
    value, error = two_sum(a.value, b.value)
    return two_sum(value, jax.lax.stop_gradient(a.low + b.low + error))


def _count(mask: Array) -> Array:
    return mask.sum(axis=-1, dtype=jnp.int32)


def _exact(value: Array) -> Compensated:
    return Compensated(value, jnp.zeros_like(value))


def _finite(maximum: Array) -> Array:
    """Zero in place of the maximum of no element."""
    return jnp.where(maximum > -jnp.inf, maximum, 0.0)


def _with_trailing_axes(x: Array, ndim: int) -> Array:
    return x.reshape(*x.shape, *(1,) * (ndim - x.ndim))

"""The set functions of any model that has a joint bound: the density of an element given others is a difference.

The state of a set is the elements seen so far, and log p(x | X) is L(X and x) - L(X), so that densities given growing
sets add up to L. Elements are `EncodedElement`s, whose seeds tell them apart.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from exflow.core.latents.bounds import DRAWS_AT_ONCE
from exflow.core.latents.elements import EncodedElement, SeenElements
from exflow.model import ClassLogProbs, Encode, Joint, SampleImages, SetFunctions
from exflow.typing import Params

SetMask = Bool[Array, "*lead set"]
BLOCK_BYTES = 2**30  # of work on pairs of a query and a class at once; more comes block by block


def sets_from_bound(
    joint: Joint,
    encode: Encode,
    image_shape: tuple[int, int, int],
    value_dtype: str,
    sample: SampleImages,
    class_log_probs: ClassLogProbs | None = None,
    work_bytes: int = 0,
) -> SetFunctions:
    """Make the set functions of a model from a bound on the log density of whole sets.

    Args:
      joint: The bound L(X), 0 for sets without elements; the same elements give the same bound in any order.
      encode: Of the model, to elements of the type `EncodedElement`.
      image_shape: Of what it encodes.
      value_dtype: Of the same.
      sample: Of the model; its states are `SeenElements`.
      class_log_probs: Scores of classes in place of log p(query | class).
      work_bytes: See `SetFunctions`.

    Returns:
      Set functions, each a few calls of `joint`: of n subsets for the conditionals of n elements.
    """

    def init_state(params: Params, batch_shape: tuple[int, ...] = ()) -> SeenElements:
        x = jax.ShapeDtypeStruct((*batch_shape, 1, *image_shape), value_dtype)
        like = jax.eval_shape(lambda x: encode(params, None, x), x)
        empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        return SeenElements(empty, jnp.zeros((*batch_shape, 1), bool))

    def log_prob(params: Params, state: SeenElements, element: EncodedElement, draws: int = 1) -> Array:
        one = jax.tree.map(lambda leaf: jnp.expand_dims(leaf, state.mask.ndim - 1), element)
        after = update(params, state, one)
        return joint(params, *after, draws) - joint(params, *state, draws)

    def conditional(
        params: Params, element_set: EncodedElement, mask: SetMask | None = None, draws: int = 1
    ) -> Float[Array, "*lead set"]:
        mask = _every(element_set) if mask is None else mask
        size = mask.shape[-1]
        totals = joint(params, *_subsets(element_set, mask, np.tril(np.ones((size, size), bool))), draws)
        before = jnp.concatenate([jnp.zeros_like(totals[..., :1]), totals[..., :-1]], axis=-1)
        return jnp.where(mask, totals - before, 0.0)

    def leave_one_out(
        params: Params, element_set: EncodedElement, mask: SetMask | None = None, draws: int = 1
    ) -> Float[Array, "*lead set"]:
        mask = _every(element_set) if mask is None else mask
        without = joint(params, *_subsets(element_set, mask, ~np.eye(mask.shape[-1], dtype=bool)), draws)
        return jnp.where(mask, joint(params, element_set, mask, draws)[..., None] - without, 0.0)

    def gains(params: Params, states: SeenElements, elements: EncodedElement, draws: int = 1) -> Array:
        def of_pairs(queries: EncodedElement) -> Array:
            return _all_pairs(lambda state, query: log_prob(params, state, query, draws), states, queries)

        of_query = max(work_bytes * min(draws, DRAWS_AT_ONCE), 1) * states.mask.size  # bytes
        return _in_blocks(of_pairs, elements, states.mask.ndim - 2, max(1, BLOCK_BYTES // max(1, of_query)))

    return SetFunctions(
        exact=False,
        init_state=init_state,
        update=update,
        remove=remove,
        merge=lambda params, a, b: update(params, a, b.elements, b.mask),
        log_prob=log_prob,
        joint=joint,
        conditional=conditional,
        leave_one_out=leave_one_out,
        class_log_probs=class_log_probs or gains,
        sample=sample,
        compact=compact,
        work_bytes=work_bytes,
    )


def update(
    params: Params, state: SeenElements, element_set: EncodedElement, mask: SetMask | None = None
) -> SeenElements:
    """Append elements [..., set] to those of states [...]; masked ones take places, and count for nothing."""
    del params
    mask = _every(element_set) if mask is None else jnp.broadcast_to(mask, element_set.seed.shape)
    given, axis = SeenElements(element_set, mask), state.mask.ndim - 1
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=axis), state, given)


def remove(params: Params, state: SeenElements, element: EncodedElement) -> SeenElements:
    """Take out the first element with the seed of the given one."""
    del params
    same = state.mask & (state.elements.seed == element.seed[..., None])
    first = same & (jnp.cumsum(same, axis=-1) == 1)
    return state._replace(mask=state.mask & ~first)


def compact(state: SeenElements) -> SeenElements:
    """Drop the places without elements, up to the next power of two, so that sets of any size need few compilations."""
    (kept,) = np.nonzero(np.asarray(state.mask))
    places = 1 << max(len(kept) - 1, 0).bit_length()

    def pack(leaf: Array | np.ndarray) -> np.ndarray:
        packed = np.zeros((places, *leaf.shape[1:]), leaf.dtype)
        packed[: len(kept)] = np.asarray(leaf)[kept]
        return packed

    return jax.tree.map(pack, state)


def _every(element_set: EncodedElement) -> SetMask:
    return jnp.ones(element_set.seed.shape, bool)


def _subsets(element_set: EncodedElement, mask: SetMask, chosen: np.ndarray) -> SeenElements:
    """Subsets of every set, those of the rows of `chosen` [subset, set]: leading axes [..., subset]."""
    axis = mask.ndim - 1
    masks = mask[..., None, :] & jnp.asarray(chosen).reshape((1,) * axis + chosen.shape)

    def repeat(leaf: Array) -> Array:
        shape = (*leaf.shape[:axis], len(chosen), *leaf.shape[axis:])
        return jnp.broadcast_to(jnp.expand_dims(leaf, axis), shape)

    return SeenElements(jax.tree.map(repeat, element_set), masks)


def _all_pairs(
    function: Callable[[SeenElements, EncodedElement], Array], states: SeenElements, elements: EncodedElement
) -> Float[Array, "*lead query class"]:
    """function(state, element) of every pair of states [..., class] and elements [..., query]."""
    lead = states.mask.ndim - 2
    num_classes, num_queries = states.mask.shape[lead], elements.seed.shape[lead]

    def spread(leaf: Array, axis: int, number: int) -> Array:
        expanded = jnp.expand_dims(leaf, axis)
        return jnp.broadcast_to(expanded, (*expanded.shape[:axis], number, *expanded.shape[axis + 1 :]))

    states = jax.tree.map(lambda leaf: spread(leaf, lead, num_queries), states)
    elements = jax.tree.map(lambda leaf: spread(leaf, lead + 1, num_classes), elements)
    return function(states, elements)


def _in_blocks(
    function: Callable[[EncodedElement], Array], elements: EncodedElement, axis: int, size: int
) -> Float[Array, "*lead query class"]:
    """function(elements) of the queries along `axis`, `size` of them at a time, so that memory stays bounded."""
    number = elements.seed.shape[axis]
    if number <= size:
        return function(elements)
    num_blocks = -(-number // size)
    rows = jnp.minimum(jnp.arange(num_blocks * size), number - 1).reshape(num_blocks, size)

    def block(rows: Array) -> Array:
        return function(jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=axis), elements))

    found = jnp.moveaxis(jax.lax.map(block, rows), 0, axis)
    return found.reshape(*found.shape[:axis], -1, found.shape[-1])[..., :number, :]

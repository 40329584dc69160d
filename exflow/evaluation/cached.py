"""Elements that were encoded once, and the states of sets of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from exflow.core.latents.bounds import DRAWS_AT_ONCE
from exflow.model import Model, sets_of
from exflow.typing import Element, Params


def gather(elements: Element, rows: Array) -> Element:
    """Elements at the given flat rows; leading axes are those of `rows`."""
    return jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0, mode="clip"), elements)


def empty_states(model: Model, params: Params, leading: tuple[int, ...]) -> Any:
    """State of the empty set with leading axes."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*leading, *leaf.shape)), sets_of(model).init_state(params))


def element_bytes(model: Model, elements: Element, draws: int = 1) -> int:
    """Bytes that a cached element, or the work on it, needs: to choose how many are gathered at once."""
    leaves = jax.tree.leaves(elements)
    work = 0 if model.sets is None else model.sets.work_bytes * min(draws, DRAWS_AT_ONCE)
    return max(work, sum(leaf.nbytes // int(np.prod(leaf.shape[:3])) for leaf in leaves))

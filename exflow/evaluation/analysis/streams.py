"""Many sets that grow side by side, one element at a time; each function is compiled once per number of sets."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from exflow.model import Model, sets_of
from exflow.typing import Element, Params, State

_compiled = functools.partial(jax.jit, static_argnums=0)


@_compiled
def absorb(model: Model, params: Params, states: State, elements: Element, mask: Bool[Array, "*sets"]) -> State:
    """States after one more element each; sets where the mask is False stay as they are."""
    element_set = jax.tree.map(lambda leaf: jnp.expand_dims(leaf, mask.ndim), elements)
    return sets_of(model).update(params, states, element_set, mask[..., jnp.newaxis])


@_compiled
def log_prob(model: Model, params: Params, states: State, elements: Element) -> Float[Array, "*sets"]:
    """Log p(element | state), one element per state, nats."""
    return sets_of(model).log_prob(params, states, elements)


@_compiled
def class_log_probs(
    model: Model, params: Params, states: State, elements: Element
) -> Float[Array, "episode query class"]:
    """Log p(query | class) of all pairs in each episode, nats."""
    return sets_of(model).class_log_probs(params, states, elements)


def take(elements: Element, rows: Int[np.ndarray, "..."]) -> Element:
    """Elements at rows of a table [rows, ...]; leading axes are those of `rows`."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[rows], elements)


def flat(elements: Element) -> Element:
    """Cached elements [class, rotation, image] as a table [rows]."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[3:]), elements)

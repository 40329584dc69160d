"""Functions of a set model compiled for padded sets: the model is static, so each is compiled once per shape."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from exflow.evaluation import cached
from exflow.evaluation.placement import data_parallel
from exflow.evaluation.quick_jit import quick_jit
from exflow.model import Model, SampleLatents, imputation_of, latents_of, process_of, sets_of
from exflow.typing import Element, Params, PRNGKey, State

_compiled = functools.partial(jax.jit, static_argnames=("model", "draws"))


def power_of_two(number: int) -> int:
    """Smallest power of two that is at least `number` and 1."""
    return 1 << max(number - 1, 0).bit_length()


def scatter(elements: Element, mask: Bool[np.ndarray, "..."]) -> Element:
    """Put elements [num] where the mask is True, in its order; zeros elsewhere."""

    def place(leaf: np.ndarray) -> np.ndarray:
        out = np.zeros((*mask.shape, *leaf.shape[1:]), leaf.dtype)
        out[mask] = leaf
        return out

    return jax.tree.map(place, elements)


@functools.partial(jax.jit, static_argnums=(0, 2))
def empty_states(model: Model, params: Params, leading: tuple[int, ...]) -> State:
    """States of empty sets with leading axes."""
    return cached.empty_states(model, params, leading)


@functools.partial(jax.jit, static_argnames="model")
def update(model: Model, params: Params, state: State, elements: Element, mask: Array) -> State:
    """State after the elements [set] where the mask is True."""
    return sets_of(model).update(params, state, elements, mask)


@functools.partial(jax.jit, static_argnames="model")
def remove(model: Model, params: Params, state: State, element: Element) -> State:
    """State without one element that was absorbed before."""
    return sets_of(model).remove(params, state, element)


@functools.partial(jax.jit, static_argnames="model")
def merge(model: Model, params: Params, a: State, b: State) -> State:
    """State of the union of two disjoint sets."""
    return sets_of(model).merge(params, a, b)


@_compiled
def log_prob(model: Model, params: Params, state: State, elements: Element, draws: int = 1) -> Float[Array, " num"]:
    """Log p(element | state) of each element [num] on its own."""
    number = jax.tree.leaves(elements)[0].shape[0]
    states = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (number, *leaf.shape)), state)
    return sets_of(model).log_prob(params, states, elements, draws)


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def sample(
    model: Model,
    params: Params,
    states: State,
    key: PRNGKey,
    num_samples: int,
    coherent: bool,
    context: Array | None = None,
) -> Array:
    """Images [num_samples, ...] of states [...]; contexts, if taken, are [num_samples, ..., context_dim]."""
    known = () if context is None else (context,)
    return sets_of(model).sample(params, states, key, num_samples, coherent, *known)


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def sample_latents(
    sample: SampleLatents, params: Params, states: State, key: PRNGKey, num_samples: int, coherent: bool
) -> Float[Array, "num *lead dim"]:
    """What the process of a model draws given states [...], to be decoded."""
    return sample(params, states, key, num_samples, coherent)


@functools.partial(quick_jit, static_argnums=0)
def decode(model: Model, params: Params, z: Float[Array, "num dim"], context: Array | None) -> Array:
    """Images of latent vectors, split over the local devices, whose number divides theirs."""

    def images(params: Params, z: Array, context: Array | None) -> Array:
        return process_of(model).decode(params, z, *(() if context is None else (context,)))

    return data_parallel(images, 1, 2)(params, z, context)


@functools.partial(jax.jit, static_argnames="model")
def reconstruct(model: Model, params: Params, elements: Element, mask: Bool[Array, "sets set"]) -> Array:
    """Images of the means of the likelihood given the means of the posteriors of all latents, [sets, set, ...]."""
    latents = latents_of(model)
    _, outputs = latents.infer(params, elements, mask, None)
    law = latents.likelihood_of(params)
    return law.to_pixels(law.mean(outputs))


@functools.partial(jax.jit, static_argnums=(0, 5))
def impute(model: Model, params: Params, key: PRNGKey, x: Array, observed: Array, num_samples: int) -> Array:
    """Images [num_samples, num, ...] whose hidden pixels were drawn given those where `observed` is True."""
    return imputation_of(model).sample(params, key, x, observed, num_samples)


@functools.partial(jax.jit, static_argnames="model")
def class_states(model: Model, params: Params, support: Element, mask: Bool[Array, "class set"]) -> State:
    """States [class] of the supports of classes."""
    return sets_of(model).update(params, cached.empty_states(model, params, mask.shape[:1]), support, mask)


@_compiled
def class_log_probs(
    model: Model, params: Params, states: State, queries: Element, draws: int = 1
) -> Float[Array, "query class"]:
    """Log p(query | support of the class) for all pairs."""
    return sets_of(model).class_log_probs(params, states, queries, draws)


@_compiled
def conditional(
    model: Model, params: Params, elements: Element, mask: Bool[Array, "sets set"], draws: int = 1
) -> Float[Array, "sets set"]:
    """Log p(x_n | x_<n), 0 where masked."""
    return jnp.where(mask, sets_of(model).conditional(params, elements, mask, draws), 0.0)


@_compiled
def joint_shares(
    model: Model, params: Params, elements: Element, mask: Bool[Array, "sets set"], draws: int = 1
) -> Float[Array, "sets set"]:
    """Log p(X) of a model that has it as one number, all in the first place of the set."""
    joint = sets_of(model).joint(params, elements, mask, draws)
    return jnp.where(jnp.arange(mask.shape[1])[None] == 0, joint[:, None], 0.0)


@_compiled
def conditional_gain(
    model: Model, params: Params, elements: Element, mask: Bool[Array, "sets set"], draws: int = 1
) -> Float[Array, "sets set"]:
    """Log p(x_n | x_<n) - log p(x_n), 0 where masked."""
    log_probs = sets_of(model).conditional(params, elements, mask, draws)
    return jnp.where(mask, log_probs - _prior(model, params, elements, mask, draws), 0.0)


@_compiled
def leave_one_out_gain(
    model: Model, params: Params, elements: Element, mask: Bool[Array, "sets set"], draws: int = 1
) -> Float[Array, "sets set"]:
    """Log p(x_n | all others) - log p(x_n), 0 where masked."""
    log_probs = sets_of(model).leave_one_out(params, elements, mask, draws)
    return jnp.where(mask, log_probs - _prior(model, params, elements, mask, draws), 0.0)


def _prior(model: Model, params: Params, elements: Element, mask: Array, draws: int) -> Array:
    return sets_of(model).log_prob(params, cached.empty_states(model, params, mask.shape), elements, draws)

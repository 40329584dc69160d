"""Many sets through a set VAE in chunks over all devices, compiled once per set size: bounds on their log evidence."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Bool, Float, Int

from exflow.core.latents import bounds
from exflow.core.latents.elements import EncodedElement
from exflow.evaluation import placement
from exflow.model import LatentFunctions, sets_of
from exflow.models import latent_bounds
from exflow.typing import Params, PRNGKey
from experiments.latents import LATENTS, latents_of
from experiments.subject import Subject

CHUNK_BYTES = {"cpu": 2**26, "gpu": 2**31}  # of work per device and call
DRAWS_PER_CALL = 16  # of the latents, if there are as many


class SetTerms(NamedTuple):
    """Terms of the evidence lower bound per set, nats; levels top first."""

    log_prob: Float[np.ndarray, " sets"]
    kl_examples: Float[np.ndarray, "sets level"]
    kl_set: Float[np.ndarray, "sets set_level"]

    @property
    def elbo(self) -> Float[np.ndarray, " sets"]:
        """The bound on log p(X)."""
        return self.log_prob - self.kl_examples.sum(axis=1) - self.kl_set.sum(axis=1)


class SetBounds(NamedTuple):
    """Importance-weighted bounds on log p(X) per set, nats, see `exflow.core.bounds.ImportanceEstimate`."""

    bound: Float[np.ndarray, " sets"]
    standard_error: Float[np.ndarray, " sets"]
    effective_sample_size: Float[np.ndarray, " sets"]
    elbo: Float[np.ndarray, " sets"]  # mean of the log weights: estimates the bound of one draw


def elbo_terms(subject: Subject, values: Float[np.ndarray, "sets set h w c"], draws: int = 1) -> SetTerms:
    """Terms of the evidence lower bound of sets, means over draws of the latents."""
    drawn = [in_chunks(_terms, subject, values, subject.key(LATENTS + draw)) for draw in range(draws)]
    return SetTerms(*(np.mean(leaves, axis=0, dtype=np.float64) for leaves in zip(*drawn, strict=True)))


def _terms(
    latents: LatentFunctions, params: Params, element_set: EncodedElement, mask: Array, key: PRNGKey
) -> tuple[Array, Array, Array]:
    found = latent_bounds.elbo_terms(latents, params, key, element_set, mask)
    return found.log_prob, found.kl_examples.T, found.kl_set.T


def importance(
    subject: Subject,
    values: Float[np.ndarray, "sets set h w c"],
    samples: int,
    inner: int = 0,
    mask: Bool[np.ndarray, "sets set"] | None = None,
    given: int | None = None,
) -> SetBounds:
    """Importance-weighted bounds on log p(X) of sets, nats per set; memory does not grow with the number of samples.

    Elements of a VAE share no latent, so that each has weights of its own, and the effective sample size is their mean.

    Args:
      subject: Model.
      values: What the likelihood scores.
      samples: Draws of the latents of the elements.
      inner: Draws of these for each of samples // inner draws of the latent of the set (nested bound); 0: every draw
        of one is a draw of the other.
      mask: Which elements exist; None: all.
      given: A number t bounds the density of samples given the first t elements at the next one instead, see
        `exflow.models.latent_bounds.predictive_log_weights`.
    """
    latents, params = latents_of(subject), subject.model.params
    alone = latents.num_set_latents == 0
    keys = jax.random.split(subject.key(LATENTS), samples // inner if inner else samples)
    sets, draws = per_call(subject, values.shape, len(keys), max(inner, 1))
    parts = []
    for chunk, there, real in _chunks(values, mask, sets):
        elements = _encode(latents, params, chunk)
        state, totals = bounds.init(there.shape if alone else there.shape[:1]), []
        for start in range(0, len(keys), draws):
            chosen = np.arange(start, start + draws)
            weights = _log_weights(
                latents, alone, inner, params, keys[np.minimum(chosen, len(keys) - 1)], given, elements, there
            )
            weights = jnp.moveaxis(weights, 1, 0)[: (chosen < len(keys)).sum()]  # so many that are new
            state = _update(state, weights)
            totals.append(weights.sum(axis=0))
        found = _first(real, (*bounds.finalize(state), np.sum(totals, axis=0, dtype=np.float64) / len(keys)))
        parts.append(_over_elements(found, np.asarray(there)[:real]) if alone else found)
    return SetBounds(*(np.concatenate(leaves) for leaves in zip(*parts, strict=True)))


def in_chunks(
    function: Callable[..., Any], subject: Subject, values: Float[np.ndarray, "sets set h w c"], *more: Any
) -> Any:
    """function(latents, params, element_set, mask, *more) of all sets; trees of arrays with leading axis [sets].

    Compiled once per function and set size; `more` is the same for all sets.
    """
    parts = []
    for chunk, mask, real in _chunks(values, None, per_call(subject, values.shape, 1)[0]):
        elements = _encode(latents_of(subject), subject.model.params, chunk)
        found = _mapped(function, latents_of(subject), subject.model.params, more, elements, mask)
        parts.append(jax.tree.map(lambda leaf, real=real: np.asarray(leaf)[:real], found))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _mapped(
    function: Callable[..., Any],
    latents: LatentFunctions,
    params: Params,
    more: Any,
    elements: EncodedElement,
    mask: Array,
) -> Any:
    def local(params: Params, more: Any, elements: EncodedElement, mask: Array) -> Any:
        return function(latents, params, elements, mask, *more)

    return _sharded(local, 2, 2)(params, more, elements, mask)


def per_call(subject: Subject, shape: tuple[int, ...], draws: int, inner: int = 1) -> tuple[int, int]:
    """How many sets of the values `shape`, and draws of their latents, a call takes in the memory meant for it."""
    sets, size = shape[:2]
    model, devices = subject.model.core, placement.local_mesh().size
    set_bytes = max(sets_of(model).work_bytes, 1) * inner * size
    passes = max(1, devices * CHUNK_BYTES.get(jax.default_backend(), 2**31) // set_bytes)
    together = placement.round_up(min(sets, max(1, passes // min(draws, DRAWS_PER_CALL))), devices)
    return together, min(draws, max(1, passes // together))


def _chunks(values: np.ndarray, mask: np.ndarray | None, size: int) -> Iterator[tuple[Array, Array, int]]:
    """Sets and their masks in equal chunks over the devices, the last one filled up; and how many of them are real."""
    mask = np.ones(values.shape[:2], bool) if mask is None else mask
    sharding = NamedSharding(placement.local_mesh(), placement.DATA)
    for start in range(0, len(values), size):
        chosen = np.minimum(np.arange(start, start + size), len(values) - 1)
        chunk, there = jax.device_put((values[chosen], mask[chosen]), sharding)
        yield chunk, there, min(size, len(values) - start)


def _first(number: int, leaves: Sequence[Array | np.ndarray]) -> list[np.ndarray]:
    """The first rows of arrays."""
    return [np.asarray(leaf, np.float64)[:number] for leaf in leaves]


def _over_elements(found: list[np.ndarray], mask: np.ndarray) -> list[np.ndarray]:
    """What importance weights say of sets of independent elements, from what they say of the elements."""
    bound, error, size, elbo = (np.where(mask, leaf, 0.0) for leaf in found)
    draws = size.sum(axis=1) / mask.sum(axis=1)
    return [bound.sum(axis=1), np.sqrt((error**2).sum(axis=1)), draws, elbo.sum(axis=1)]


def _sharded(function: Callable[..., Any], copied: int, split: int) -> Callable[..., Any]:
    """The function on all devices; its first arguments are copied, the others split along their sets."""
    return placement.data_parallel(function, copied, split)


@functools.partial(jax.jit, static_argnums=0)
def _encode(latents: LatentFunctions, params: Params, values: Array) -> EncodedElement:
    return _sharded(latents.encode_values, 1, 1)(params, values)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _log_weights(
    latents: LatentFunctions,
    alone: bool,
    inner: int,
    params: Params,
    keys: Array,
    given: Int[Array, ""] | int | None,
    elements: EncodedElement,
    mask: Array,
) -> Float[Array, "sets samples ..."]:
    def local(
        params: Params, keys: Array, given: Array | None, elements: EncodedElement, mask: Array
    ) -> Float[Array, "sets samples ..."]:
        if given is not None:
            query = jax.tree.map(lambda leaf: jnp.take(leaf, given, axis=1), elements)
            before = mask & (jnp.arange(mask.shape[1])[None] < given)
            weights = latent_bounds.predictive_log_weights(latents, params, keys, elements, before, query)
        elif inner:
            weights = latent_bounds.nested_log_weights(latents, params, keys, inner, elements, mask)
        else:
            weigh = latent_bounds.element_log_weights if alone else latent_bounds.log_weights
            weights = weigh(latents, params, keys, elements, mask)
        return jnp.moveaxis(weights, 0, 1)

    return _sharded(local, 3, 2)(params, keys, given, elements, mask)


_update = jax.jit(bounds.update)

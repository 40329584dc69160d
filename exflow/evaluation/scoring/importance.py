"""Importance-weighted bounds on the log evidence of sets, streamed over sets and over draws of the latents.

Memory does not grow with the number of draws, and the numbers do not depend on how sets and draws are divided into
calls, nor on the number of devices.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from exflow.core.latents import bounds
from exflow.core.latents.elements import EncodedElement
from exflow.evaluation import placement
from exflow.evaluation.chunks import chunks
from exflow.evaluation.scoring.latents import encode, per_call
from exflow.model import LatentFunctions, Model, latents_of
from exflow.models import latent_bounds
from exflow.typing import Params, PRNGKey

Found = tuple[np.ndarray, ...]  # the fields of `SetBounds`


class SetBounds(NamedTuple):
    """Importance-weighted bounds on log p(X) per set, nats, see `exflow.core.latents.bounds.ImportanceEstimate`."""

    bound: Float[np.ndarray, " sets"]
    standard_error: Float[np.ndarray, " sets"]  # of the draws, not over sets
    effective_sample_size: Float[np.ndarray, " sets"]
    elbo: Float[np.ndarray, " sets"]  # mean of the log weights: estimates the bound of one draw


def importance(
    model: Model,
    params: Params,
    values: Float[np.ndarray, "sets set h w c"],
    key: PRNGKey,
    samples: int,
    inner: int = 0,
    mask: Bool[np.ndarray, "sets set"] | None = None,
    given: int | None = None,
) -> SetBounds:
    """Importance-weighted bounds on log p(X) of sets, nats per set.

    Where elements share no latent, each has weights of its own, and the effective sample size is their mean.

    Args:
      model: Model with latents.
      params: Its parameters.
      values: What the likelihood scores.
      key: Of the draws, which are the same for all sets but for the noise of their elements.
      samples: Draws of the latents of the elements.
      inner: Draws of these for each of samples // inner draws of the latent of the set (nested bound, of models with
        one such latent); 0: every draw of one is a draw of the other.
      mask: Which elements exist; None: all.
      given: A number t bounds the density of samples given the first t elements at the next one instead, of models
        with one latent of the set.
    """
    latents, params = latents_of(model), placement.replicate(params)
    alone = latents.num_set_latents == 0
    keys = jax.random.split(key, samples // inner if inner else samples)
    sets, draws = per_call(model, values.shape, len(keys), max(inner, 1))
    mask = np.ones(values.shape[:2], bool) if mask is None else mask
    parts = []
    for (chunk, there), real in chunks((values, mask), sets):
        elements = encode(latents, params, chunk)
        weigh = functools.partial(_log_weights, latents, alone, inner)
        found = _streamed(weigh, params, keys, draws, given, elements, there, alone)
        found = tuple(leaf[:real] for leaf in found)
        parts.append(_over_elements(found, np.asarray(there)[:real]) if alone else found)
    return SetBounds(*(np.concatenate(leaves) for leaves in zip(*parts, strict=True)))


def _streamed(
    weigh: functools.partial[Array],
    params: Params,
    keys: Array,
    draws: int,
    given: int | None,
    elements: EncodedElement,
    mask: Array,
    alone: bool,
) -> Found:
    """What the weights of all draws say of sets (of their elements, if alone), so many draws at a time."""
    state, totals = bounds.init(mask.shape if alone else mask.shape[:1]), []
    for start in range(0, len(keys), draws):
        chosen = np.arange(start, start + draws)
        weights = weigh(params, keys[np.minimum(chosen, len(keys) - 1)], given, elements, mask)
        weights = jnp.moveaxis(weights, 1, 0)[: (chosen < len(keys)).sum()]  # so many that are new
        state = _update(state, weights)
        totals.append(weights.sum(axis=0))
    elbo = np.sum(totals, axis=0, dtype=np.float64) / len(keys)
    return tuple(np.asarray(leaf, np.float64) for leaf in (*bounds.finalize(state), elbo))


def _over_elements(found: Found, mask: np.ndarray) -> Found:
    """What importance weights say of sets of independent elements, from what they say of the elements."""
    bound, error, size, elbo = (np.where(mask, leaf, 0.0) for leaf in found)
    draws = size.sum(axis=1) / mask.sum(axis=1)
    return bound.sum(axis=1), np.sqrt((error**2).sum(axis=1)), draws, elbo.sum(axis=1)


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

    return placement.data_parallel(local, 3, 2)(params, keys, given, elements, mask)


_update = jax.jit(bounds.update)

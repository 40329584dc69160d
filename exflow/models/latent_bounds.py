"""Bounds on the log evidence of sets from latent variables: one draw, importance-weighted, nested, predictive.

Functions take `Model.latents`, of any family, and are pure. The noise of an element is a function of the key and of its
values, that of a set of its elements: the same key gives the same bounds whatever order, padding and batch, and
neighbours such as X and X with one more element mostly have common noise, so that their difference varies less than
either.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from exflow.core.latents import bounds, diagonal_gaussian, terms
from exflow.core.latents.elements import EncodedElement, SeenElements, merge_sets
from exflow.core.latents.seeds import distinct_seeds
from exflow.core.latents.terms import Terms
from exflow.core.latents.trace import SET, Noise, TopDown, draw
from exflow.model import Joint, LatentFunctions
from exflow.typing import Params, PRNGKey

BOUND = 0  # separates the draws of bounds from those of images
SetMask = Bool[Array, "batch set"]


def joint(latents: LatentFunctions) -> Joint:
    """Bounds L(X) on the log density of sets with leading axes, with the same noise for the same sets.

    One draw of the latents gives the evidence lower bound with divergences in closed form, several give the
    importance-weighted bound.
    """

    def bound(
        params: Params, element_set: EncodedElement, mask: Bool[Array, "*lead set"] | None = None, draws: int = 1
    ) -> Float[Array, "*lead"]:
        mask = jnp.ones(element_set.seed.shape, bool) if mask is None else mask
        if mask.size == 0:
            return jnp.zeros(mask.shape[:-1])
        element_set, mask, leading = merge_sets(element_set, mask)

        def one(key: PRNGKey) -> Array:
            drawn = _drawn(latents, params, key, element_set, mask)
            if draws == 1:
                return terms.elbo(terms.terms(*drawn, mask))
            if not latents.num_set_latents:  # elements are independent: a weight for each is tighter than one per set
                return terms.element_log_weights(*drawn, mask)
            return terms.log_weight(*drawn, mask)

        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), BOUND), draws)
        values = bounds.streamed_bound(jax.vmap(one), keys) if draws > 1 else one(keys[0])
        values = values.sum(axis=1) if values.ndim > 1 else values
        return jnp.where(mask.any(axis=1), values, 0.0).reshape(leading)

    return bound


def elbo_terms(
    latents: LatentFunctions, params: Params, key: PRNGKey, element_set: EncodedElement, mask: SetMask
) -> Terms:
    """Terms of the evidence lower bound from one draw of the latents, divergences in closed form; nats per set."""
    return terms.terms(*_drawn(latents, params, key, element_set, mask), mask)


def log_weights(
    latents: LatentFunctions, params: Params, keys: Key[Array, " samples"], element_set: EncodedElement, mask: SetMask
) -> Float[Array, "samples batch"]:
    """Log importance weights of whole sets, one per key, for `exflow.core.latents.bounds`."""

    def one(key: PRNGKey) -> Array:
        return terms.log_weight(*_drawn(latents, params, key, element_set, mask), mask)

    return jax.vmap(one)(keys)


def element_log_weights(
    latents: LatentFunctions, params: Params, keys: Key[Array, " samples"], element_set: EncodedElement, mask: SetMask
) -> Float[Array, "samples batch set"]:
    """Log importance weights of single elements; 0 for those that do not exist.

    Weights of their own bound anything only if elements share no latent: of a VAE, whose log evidence of a set is the
    sum over its elements.
    """

    def one(key: PRNGKey) -> Array:
        return terms.element_log_weights(*_drawn(latents, params, key, element_set, mask), mask)

    return jax.vmap(one)(keys)


def nested_log_weights(
    latents: LatentFunctions,
    params: Params,
    keys: Key[Array, " outer"],
    num_inner: int,
    element_set: EncodedElement,
    mask: SetMask,
) -> Float[Array, "outer batch"]:
    """Log weights of sets, one per draw of the latent of the set, with those of every element averaged over draws.

    Of models with a single latent of the set, given which the elements are independent. With the same number of draws
    of the elements' latents it gives tighter bounds than `log_weights`, see `core.latents.bounds.nested_log_weights`.

    Args:
      latents: Of the model.
      params: Its parameters.
      keys: One per outer draw.
      num_inner: Draws of the elements' latents for each of them.
      element_set: Sets.
      mask: Which elements exist.

    Raises:
      ValueError: The model has no latent of the set, or several, whose lower ones depend on those of the elements.
    """
    _check_one_set_latent(latents)

    def outer(key: PRNGKey) -> tuple[Array, Array]:
        outer_key, inner_key = jax.random.split(key)
        trace, _ = latents.infer(params, element_set, mask, outer_key)
        set_latents = trace.set_latents

        def inner(key: PRNGKey) -> Array:
            drawn = _drawn(latents, params, key, element_set, mask, set_latents)
            return terms.element_log_weights(*drawn, mask)

        inner_weights = jax.vmap(inner)(jax.random.split(inner_key, num_inner))
        return terms.set_log_weight(trace, mask), inner_weights

    return bounds.nested_log_weights(*jax.vmap(outer)(keys), mask)


def predictive_log_weights(
    latents: LatentFunctions,
    params: Params,
    keys: Key[Array, " samples"],
    element_set: EncodedElement,
    mask: SetMask,
    query: EncodedElement,
) -> Float[Array, "samples batch"]:
    """Log weights of one element each given a set, for a lower bound on the density that the model samples from.

        log w = log q(c | X) - log q(c | X, x) + log p(x | z, c) + log p(z | c) - log q(z | c, x)

    with c ~ q(c | X, x), z ~ q(z | c, x). It bounds log int q(c | X) p(x | c) dc, a density of x, from below, which
    differences of bounds on sets do for no density. Of models with a single latent of the set.

    Args:
      latents: Of the model.
      params: Its parameters.
      keys: One per draw.
      element_set: The sets X that are given.
      mask: Which of their elements exist; for a set without any, q(c | X) is the prior.
      query: The element x of every set, leading axis [batch].

    Raises:
      ValueError: The model has no latent of the set, or several, whose lower ones depend on those of the elements.
    """
    _check_one_set_latent(latents)
    alone, there = jax.tree.map(lambda leaf: leaf[:, None], query), jnp.ones((len(mask), 1), bool)
    together = jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), element_set, alone)
    states = SeenElements(element_set, mask), SeenElements(together, jnp.concatenate([mask, there], axis=1))
    seeds = distinct_seeds(together.seed, states[1].mask)
    before, after = (latents.set_posteriors(params, state)[0] for state in states)

    def one(key: PRNGKey) -> Array:
        set_key, example_key = jax.random.split(key)
        latent = draw(Noise(set_key, seeds, states[1].mask), after, 0, SET)
        ratio = diagonal_gaussian.log_prob(before, latent) - diagonal_gaussian.log_prob(after, latent)
        drawn = _drawn(latents, params, example_key, alone, there, (latent,))
        return ratio.reshape(len(mask), -1).sum(axis=1) + terms.element_log_weights(*drawn, there)[:, 0]

    return jax.vmap(one)(keys)


def _check_one_set_latent(latents: LatentFunctions) -> None:
    if latents.num_set_latents != 1:
        raise ValueError(f"latents: expected a model with one latent of the set, got {latents.num_set_latents}.")


def _drawn(
    latents: LatentFunctions,
    params: Params,
    key: PRNGKey,
    element_set: EncodedElement,
    mask: SetMask,
    set_latents: tuple[Array, ...] | None = None,
) -> tuple[TopDown, Float[Array, "batch set"]]:
    """Latents from the posteriors, and log p(x | latents) of every element."""
    trace, outputs = latents.infer(params, element_set, mask, key, set_latents)
    return trace, latents.likelihood_of(params).log_prob(outputs, element_set.values)

"""Bounds on the log evidence of sets from the latents of a set VAE: one draw, importance-weighted, and nested.

Functions take `SetModel.latents` and are pure. The noise of an element is a function of the key and of its values, that
of a set of its elements: the same key gives the same bounds whatever order, padding and batch, and neighbours such as
X and X with one more element have common noise, so that their difference varies less than either.
"""

import jax
from jaxtyping import Array, Bool, Float, Key

from exflow.core import bounds
from exflow.models import set_vae_terms
from exflow.models.set_vae import LatentFunctions, SetElement
from exflow.models.set_vae_terms import Terms
from exflow.nn.latent_trace import TopDown
from exflow.typing import Params, PRNGKey

SetMask = Bool[Array, "batch set"]


def elbo_terms(latents: LatentFunctions, params: Params, key: PRNGKey, element_set: SetElement, mask: SetMask) -> Terms:
    """Terms of the evidence lower bound from one draw of the latents, divergences in closed form; nats per set."""
    return set_vae_terms.terms(*_drawn(latents, params, key, element_set, mask), mask)


def log_weights(
    latents: LatentFunctions, params: Params, keys: Key[Array, " samples"], element_set: SetElement, mask: SetMask
) -> Float[Array, "samples batch"]:
    """Log importance weights of whole sets, one per key, for `exflow.core.bounds`."""

    def one(key: PRNGKey) -> Array:
        return set_vae_terms.log_weight(*_drawn(latents, params, key, element_set, mask), mask)

    return jax.vmap(one)(keys)


def element_log_weights(
    latents: LatentFunctions, params: Params, keys: Key[Array, " samples"], element_set: SetElement, mask: SetMask
) -> Float[Array, "samples batch set"]:
    """Log importance weights of single elements; 0 for those that do not exist.

    Weights of their own bound anything only if elements share no latent: of a VAE, whose log evidence of a set is the
    sum over its elements.
    """

    def one(key: PRNGKey) -> Array:
        return set_vae_terms.element_log_weights(*_drawn(latents, params, key, element_set, mask), mask)

    return jax.vmap(one)(keys)


def nested_log_weights(
    latents: LatentFunctions,
    params: Params,
    keys: Key[Array, " outer"],
    num_inner: int,
    element_set: SetElement,
    mask: SetMask,
) -> Float[Array, "outer batch"]:
    """Log weights of sets, one per draw of the latent of the set, with those of every element averaged over draws.

    Of models with a single latent of the set, given which the elements are independent. With the same number of draws
    of the elements' latents it gives tighter bounds than `log_weights`, see `exflow.core.bounds.nested_log_weights`.

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

    def outer(key: PRNGKey) -> tuple[Array, Array]:
        outer_key, inner_key = jax.random.split(key)
        trace, _ = latents.infer(params, element_set, mask, outer_key)
        contexts = trace.context_values
        if len(contexts) != 1:
            raise ValueError(f"latents: expected a model with one latent of the set, got {len(contexts)}.")

        def inner(key: PRNGKey) -> Array:
            drawn = _drawn(latents, params, key, element_set, mask, contexts)
            return set_vae_terms.element_log_weights(*drawn, mask)

        inner_weights = jax.vmap(inner)(jax.random.split(inner_key, num_inner))
        return set_vae_terms.context_log_weight(trace, mask), inner_weights

    return bounds.nested_log_weights(*jax.vmap(outer)(keys), mask)


def _drawn(
    latents: LatentFunctions,
    params: Params,
    key: PRNGKey,
    element_set: SetElement,
    mask: SetMask,
    contexts: tuple[Array, ...] | None = None,
) -> tuple[TopDown, Float[Array, "batch set"]]:
    """Latents from the posteriors, and log p(x | latents) of every element."""
    trace, outputs = latents.infer(params, element_set, mask, key, contexts)
    return trace, latents.likelihood.log_prob(outputs, element_set.values)

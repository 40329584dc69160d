"""The set functions of models of single images: the elements of a set are independent, so that a state is a count."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from exflow.core.latents.elements import EncodedElement
from exflow.model import LatentFunctions, SetFunctions
from exflow.models import latent_bounds
from exflow.typing import Element, Images, Params, PRNGKey

SetMask = Bool[Array, "*lead set"]
Count = Int[Array, "*lead"]


def independent_sets(
    log_prob: Callable[[Params, Element, int], Float[Array, "*lead"]],
    sample: Callable[[Params, PRNGKey, int], Images],
    exact: bool = False,
    work_bytes: int = 0,
) -> SetFunctions:
    """Make the set functions of a model whose images have nothing to do with each other.

    Args:
      log_prob: (params, elements [...], draws) -> log densities, or bounds on them, of elements by themselves, nats.
      sample: (params, key, num) -> images [num, h, w, c].
      exact: Whether they are densities.
      work_bytes: See `SetFunctions`.

    Returns:
      Set functions, in which the density of an element is the same whatever has been seen.
    """

    def of_every(params: Params, element_set: Element, mask: SetMask | None = None, draws: int = 1) -> Array:
        log_probs = log_prob(params, element_set, draws)
        return log_probs if mask is None else jnp.where(mask, log_probs, 0.0)

    def joint(params: Params, element_set: Element, mask: SetMask | None = None, draws: int = 1) -> Array:
        return of_every(params, element_set, mask, draws).sum(axis=-1)

    def of_pairs(params: Params, state: Count, element: Element, draws: int = 1) -> Array:
        log_probs = log_prob(params, element, draws)
        return jnp.broadcast_to(log_probs, jnp.broadcast_shapes(log_probs.shape, state.shape))

    def class_log_probs(params: Params, states: Count, elements: Element, draws: int = 1) -> Array:
        log_probs = log_prob(params, elements, draws)[..., None]
        return jnp.broadcast_to(log_probs, (*log_probs.shape[:-1], states.shape[-1]))

    def images(
        params: Params,
        state: Count,
        key: PRNGKey,
        num_samples: int,
        coherent: bool = False,
        context: Array | None = None,
    ) -> Array:
        del coherent, context
        drawn = sample(params, key, num_samples * state.size)
        return drawn.reshape(num_samples, *state.shape, *drawn.shape[1:])

    return SetFunctions(
        exact=exact,
        init_state=lambda params, batch_shape=(): jnp.zeros(batch_shape, jnp.int32),
        update=_count,
        remove=lambda params, state, element: state - 1,
        merge=lambda params, a, b: a + b,
        log_prob=of_pairs,
        joint=joint,
        conditional=of_every,
        leave_one_out=of_every,
        class_log_probs=class_log_probs,
        sample=images,
        work_bytes=work_bytes,
    )


def _count(params: Params, state: Count, element_set: Element, mask: SetMask | None = None) -> Count:
    del params
    if mask is None:
        return state + jax.tree.leaves(element_set)[0].shape[state.ndim]
    return state + mask.sum(axis=-1, dtype=jnp.int32)


def sets_from_latents(latents: LatentFunctions, means: bool = True, work_bytes: int = 0) -> SetFunctions:
    """Make the set functions of a model of single images with latent variables.

    Args:
      latents: Of the model, without latents of a set.
      means: Images are the means of the likelihood and not draws from it.
      work_bytes: See `SetFunctions`.

    Returns:
      Set functions whose densities are bounds: the evidence lower bound of one draw, importance-weighted of several.
    """
    bound = latent_bounds.joint(latents)

    def log_prob(params: Params, elements: EncodedElement, draws: int) -> Float[Array, "*lead"]:
        alone = jax.tree.map(lambda leaf: jnp.expand_dims(leaf, elements.seed.ndim), elements)
        return bound(params, alone, None, draws)

    def sample(params: Params, key: PRNGKey, num: int) -> Images:
        latent_key, pixel_key = jax.random.split(key)
        law, outputs = latents.likelihood_of(params), latents.generate(params, latent_key, (num, 1))[1][:, 0]
        return law.to_pixels(law.mean(outputs) if means else law.sample(pixel_key, outputs))

    return independent_sets(log_prob, sample, work_bytes=work_bytes)

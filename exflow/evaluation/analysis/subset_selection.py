"""Greedy summaries of sets: the few elements that tell a set VAE most of what all of them tell it about the set.

Again and again the element is removed whose removal gives the smallest KL(q(c | X) || q(c | subset)). Where the
posterior sees no more of a set than the mean of its elements' features, the sum of all minus one element gives that of
the subset without it: all candidates of a removal are then one batch through the networks behind the pooling, and all
removals one compiled call. Source: Edwards & Storkey 2017, arXiv:1606.02185, section 5.2.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from exflow.core import set_statistics
from exflow.core.latents import diagonal_gaussian
from exflow.core.latents.diagonal_gaussian import DiagonalGaussian
from exflow.core.latents.elements import EncodedElement, SeenElements
from exflow.model import MeanFeatures, Model, latents_of
from exflow.typing import Params


class Summary(NamedTuple):
    """Result per set."""

    kept: Bool[Array, "sets set"]
    removed: Int[Array, "sets removal"]  # elements in the order of their removal, then -1
    divergence: Float[Array, "sets removal"]  # KL(q(c | X) || q(c | what is left)) after it, nats; then NaN


@functools.partial(jax.jit, static_argnums=(0, 4))
def summarize(
    model: Model, params: Params, element_set: EncodedElement, mask: Bool[Array, "sets set"], num_kept: int
) -> Summary:
    """Reduce sets to their most telling elements.

    The divergence is summed over the latents of the set, those above each at the means of their posteriors. For models
    whose posterior sees more than a mean, memory grows with the square of the set size.

    Args:
      model: Set VAE with a latent of the set.
      params: Its parameters.
      element_set: Elements [sets, set].
      mask: Which of them exist.
      num_kept: Elements to keep, at least 1; a set of so many or less stays as it is.

    Returns:
      What is kept, and the way there.

    Raises:
      ValueError: The model is no set VAE or has no latent of the set, or num_kept is less than 1.
    """
    if model.latents is None:
        raise ValueError(f"model: expected a set VAE, got {model.name}. Only these have a latent of the set.")
    if num_kept < 1:
        raise ValueError(f"num_kept: expected at least 1, got {num_kept}. The empty set says nothing.")
    full = latents_of(model).set_posteriors(params, SeenElements(element_set, mask))

    def remove(mask: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        if (features := latents_of(model).mean_features) is not None:
            without_each = _by_downdate(features, element_set, mask)
        else:
            without_each = _subsets(element_set, mask[:, None] & ~jnp.eye(mask.shape[1], dtype=bool)[None])
        rest = latents_of(model).set_posteriors(params, without_each)
        divergence = jnp.where(mask, _divergence(full, rest), jnp.inf)
        chosen, too_many = divergence.argmin(axis=1), mask.sum(axis=1) > num_kept
        gone = (jnp.arange(mask.shape[1])[None] == chosen[:, None]) & too_many[:, None]
        smallest = jnp.where(too_many, divergence.min(axis=1), jnp.nan)
        return mask & ~gone, (jnp.where(too_many, chosen, -1), smallest)

    num_removals = max(mask.shape[1] - num_kept, 0)
    kept, (removed, divergence) = jax.lax.scan(remove, mask, length=num_removals)
    return Summary(kept, removed.T, divergence.T)


@functools.partial(jax.jit, static_argnums=0)
def divergences(
    model: Model,
    params: Params,
    element_set: EncodedElement,
    mask: Bool[Array, "sets set"],
    chosen: Bool[Array, "sets subset set"],
) -> Float[Array, "sets subset"]:
    """KL(q(c | X) || q(c | subset)) of given subsets, nats, as in `summarize`."""
    full = latents_of(model).set_posteriors(params, SeenElements(element_set, mask))
    return _divergence(full, latents_of(model).set_posteriors(params, _subsets(element_set, mask[:, None] & chosen)))


def known_by_mean(features: MeanFeatures, elements: EncodedElement, mean: Float[Array, "..."]) -> SeenElements:
    """States [...] of sets of which only the mean of the features of their elements [...] is known.

    The mean of a set is that of one element that looks like it. With `exflow.core.set_statistics` this makes a stream
    whose posterior of the set costs the same memory after any number of elements, which can also be removed again.

    Args:
      features: `mean_features` of the latents of the model.
      elements: Any elements [...]; what else they hold does not enter the posterior of the set.
      mean: Means of the features.

    Returns:
      States for `LatentFunctions.set_posteriors`.
    """
    axis = elements.seed.ndim
    alone = jax.tree.map(lambda leaf: jnp.expand_dims(leaf, axis), features.replaced(elements, mean))
    return SeenElements(alone, jnp.ones((*elements.seed.shape, 1), bool))


def _by_downdate(mean_features: MeanFeatures, element_set: EncodedElement, mask: Array) -> SeenElements:
    """States [sets, candidate] of the sets without each of their elements, known by their means."""
    features, sets = mean_features.of(element_set), mask.shape[:1]
    empty = set_statistics.init("mean", features.shape[2:], sets)
    assert isinstance(empty, set_statistics.MeanState)
    total = set_statistics.update(empty, features, mask)
    candidates = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:, None], (*mask.shape, *leaf.shape[1:])), total)
    rest = set_statistics.remove(candidates, features[:, :, None], mask[:, :, None])
    return known_by_mean(mean_features, element_set, set_statistics.finalize(rest))


def _subsets(element_set: EncodedElement, chosen: Bool[Array, "sets subset set"]) -> SeenElements:
    """States [sets, subset] of subsets, as all elements and masks."""

    def repeat(leaf: Array) -> Array:
        return jnp.broadcast_to(leaf[:, None], (*chosen.shape, *leaf.shape[2:]))

    return SeenElements(jax.tree.map(repeat, element_set), chosen)


def _divergence(full: list[DiagonalGaussian], rest: list[DiagonalGaussian]) -> Float[Array, "sets subset"]:
    """Sum over levels of KL(q || p) from the posterior of each set to those of its subsets."""
    total = jnp.zeros(rest[0].mean.shape[:2])
    for q, p in zip(full, rest, strict=True):
        divergence = diagonal_gaussian.kl_divergence(jax.tree.map(lambda leaf: leaf[:, None], q), p)
        total = total + divergence.sum(axis=tuple(range(2, divergence.ndim)))
    return total

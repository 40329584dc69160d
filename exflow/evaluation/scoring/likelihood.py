"""Negative log-likelihood of test sets from cached elements, given the elements before (joint) and given none (prior).

The joint log-density of a set does not depend on the order of its elements, so one pass over each set gives exactly
what the original's 10,000 random sequences estimate. Source: Korshunova et al. 2018, arXiv:1802.07535, section 4.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from exflow.evaluation import cached, placement
from exflow.evaluation.chunks import equal_size, in_chunks
from exflow.evaluation.scoring.latents import encode, per_call
from exflow.model import Model, latents_of, sets_of
from exflow.typing import Element, Params

CHUNK_BYTES = 2**26  # of gathered elements per device and call


class Sets(NamedTuple):
    """Sets of images of one class and rotation each, as rows of flattened [class, rotation, image] elements."""

    rows: Int[np.ndarray, "sets set"]
    mask: Bool[np.ndarray, "sets set"]  # False where a class has fewer images than the set has places


class SetLogProbs(NamedTuple):
    """Log-densities in nats; the first axis is for independent draws of the dequantization noise."""

    conditional: Float[np.ndarray, "draws sets set"]  # log p(x_n | x_<n), 0 where mask is False
    prior: Float[np.ndarray, "draws sets set"]  # log p(x_n), 0 where mask is False
    mask: Bool[np.ndarray, "sets set"]


class Estimate(NamedTuple):
    """Mean per image over all elements of all sets, and its standard error over sets."""

    value: float
    standard_error: float  # NaN for one set


class LikelihoodSummary(NamedTuple):
    """Nats per image; `*_bound` average the density over the noise draws and not its logarithm."""

    nll: Estimate
    nll_prior: Estimate
    nll_bound: Estimate
    nll_prior_bound: Estimate
    mask: Bool[np.ndarray, "sets set"]  # which places of the sets hold an element
    num_draws: int


def draw_sets(count: Int[np.ndarray, " classes"], num_rotations: int, max_count: int, set_size: int, seed: int) -> Sets:
    """Divide the images of every class and rotation at random into disjoint sets.

    A class of `set_size` images (all of Omniglot at 20) gives one set, a smaller one gives one set with masked places,
    and of a larger one the remainder that fills no set is left out.

    Args:
      count: Images of each class.
      num_rotations: Rotations in the cache; a rotated class is a class of its own.
      max_count: Length of the image axis of the cache.
      set_size: Elements of a set; 0 for all images of the class.
      seed: Seed of the division.

    Returns:
      Sets in order of class and rotation.
    """
    rng = np.random.default_rng(seed)
    size = set_size or int(count.max())
    rows, mask = [], []
    for label, number in enumerate(count):
        for rotation in range(num_rotations):
            order = rng.permutation(number)[: max(number // size, 1) * size]
            places = np.zeros(placement.round_up(max(len(order), 1), size), np.int64)
            places[: len(order)] = order
            rows.append(((label * num_rotations + rotation) * max_count + places).reshape(-1, size))
            mask.append((np.arange(len(places)) < len(order)).reshape(-1, size))
    rows, mask = np.concatenate(rows).astype(np.int32), np.concatenate(mask)
    return Sets(rows[mask.any(axis=1)], mask[mask.any(axis=1)])


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _log_probs(
    model: Model, leave_one_out: bool, draws: int, params: Params, elements: Element, rows: Array, mask: Array
) -> tuple[Array, Array]:
    given_others = sets_of(model).leave_one_out if leave_one_out else functools.partial(_conditionals, model)

    def local(params: Params, elements: Element, rows: Array, mask: Array) -> tuple[Array, Array]:
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[3:]), elements)
        element_set = cached.gather(flat, rows)
        conditional = given_others(params, element_set, mask, draws)
        prior = sets_of(model).log_prob(params, cached.empty_states(model, params, rows.shape), element_set, draws)
        return jnp.where(mask, conditional, 0.0), jnp.where(mask, prior, 0.0)

    with jax.default_matmul_precision("highest"):
        return placement.data_parallel(local, 2, 2)(params, elements, rows, mask)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _log_probs_alone(model: Model, draws: int, params: Params, elements: Element, mask: Array) -> Array:
    def local(params: Params, elements: Element, mask: Array) -> Array:
        states = cached.empty_states(model, params, mask.shape)
        return jnp.where(mask, sets_of(model).log_prob(params, states, elements, draws), 0.0)

    with jax.default_matmul_precision("highest"):
        return placement.data_parallel(local, 1, 2)(params, elements, mask)


def log_probs_alone(
    model: Model,
    params: Params,
    values: Float[np.ndarray, "sets set h w c"],
    mask: Bool[np.ndarray, "sets set"],
    draws: int = 1,
) -> Float[np.ndarray, "sets set"]:
    """Log-density of every element given none, of a model with latents; features are kept of no more than a call takes.

    Args:
      model: Model with latents.
      params: Its parameters.
      values: What the likelihood scores.
      mask: Which elements exist.
      draws: Of the latents.

    Returns:
      Nats, 0 where the mask is False.
    """
    latents, params = latents_of(model), placement.replicate(params)

    def run(values: Array, mask: Array) -> Array:
        return _log_probs_alone(model, draws, params, encode(latents, params, values), mask)

    return in_chunks(run, (values, mask), per_call(model, values.shape, draws)[0])


def _conditionals(model: Model, params: Params, element_set: Element, mask: Array, draws: int) -> Array:
    """Log-densities that add up to the joint one; of models that only have the joint, equal shares of it."""
    sets = sets_of(model)
    if sets.exact:
        return sets.conditional(params, element_set, mask)
    share = sets.joint(params, element_set, mask, draws) / jnp.maximum(mask.sum(axis=-1), 1)
    return jnp.where(mask, share[..., None], 0.0)


def set_log_probs(
    model: Model, params: Params, elements: Element, sets: Sets, leave_one_out: bool = False, draws: int = 1
) -> tuple[Float[np.ndarray, "sets set"], Float[np.ndarray, "sets set"]]:
    """Log-density of every element given the elements before it (or all others), and given none.

    Args:
      model: Set model.
      params: Its parameters.
      elements: Cached elements [class, rotation, image] of one noise draw.
      sets: Rows of the elements of each set.
      leave_one_out: Given all others.
      draws: Of the latents, where densities are bounds.

    Returns:
      `(conditional, prior)` in nats, 0 where the mask is False. Of models with bounds the conditional part
      is equal shares of it, unless leave_one_out.
    """
    params, elements = placement.replicate(params), placement.replicate(elements)
    total, set_size = sets.rows.shape
    in_memory = placement.local_mesh().size * CHUNK_BYTES // (cached.element_bytes(model, elements, draws) * set_size)
    run = functools.partial(_log_probs, model, leave_one_out, draws, params, elements)
    return in_chunks(run, (sets.rows, sets.mask), equal_size(total, in_memory))


def summarize(log_probs: SetLogProbs) -> LikelihoodSummary:
    """Negative log-likelihood per image from the log-densities of sets.

    With one noise draw u the mean of -log p(x + u) bounds the negative log-likelihood of the discrete image from
    above. With K draws, -log (1/K) sum_k p(x + u_k) is a tighter bound: taken per set for the joint density and per
    image for the prior. Source: Burda et al. 2016, arXiv:1509.00519; Ho et al. 2019, arXiv:1902.00275, section 3.1.

    Args:
      log_probs: Log-densities, one row per noise draw.

    Returns:
      Means over all elements of all sets. The standard error is over sets, whose elements depend on each other.
    """
    conditional, prior = (np.asarray(part, np.float64) for part in (log_probs.conditional, log_probs.prior))
    size, log_draws = log_probs.mask.sum(axis=-1), np.log(len(conditional))
    joint = conditional.sum(axis=-1)
    with np.errstate(invalid="ignore"):  # NaN stays NaN
        joint_bound = np.logaddexp.reduce(joint, axis=0) - log_draws
        prior_bound = np.where(log_probs.mask, np.logaddexp.reduce(prior, axis=0) - log_draws, 0.0)
    return LikelihoodSummary(
        nll=ratio_estimate(-joint.mean(axis=0), size),
        nll_prior=ratio_estimate(-prior.sum(axis=-1).mean(axis=0), size),
        nll_bound=ratio_estimate(-joint_bound, size),
        nll_prior_bound=ratio_estimate(-prior_bound.sum(axis=-1), size),
        mask=log_probs.mask,
        num_draws=len(conditional),
    )


def ratio_estimate(total: np.ndarray, size: np.ndarray) -> Estimate:
    """Mean sum(total) / sum(size) over the elements of independent sets, and its linearised standard error."""
    number, value = len(size), total.sum() / size.sum()
    if number == 1:
        return Estimate(float(value), float("nan"))
    residual = total - value * size
    standard_error = np.sqrt((residual**2).sum() * number / (number - 1)) / size.sum()
    return Estimate(float(value), float(standard_error))


def describe_sets(mask: Bool[np.ndarray, "sets set"], elements: str) -> str:
    """Sets by the number of elements that they hold, for protocols.

    Args:
      mask: False in places without an element.
      elements: What they are, such as "test images".

    Returns:
      Such as "7 sets of 20 test images of a class"; "7 sets of 12 to 20 ..." where sizes differ; "7 test images, each
      on its own".
    """
    size = mask.sum(axis=1)
    if size.max(initial=1) == 1:
        return f"{len(size)} {elements}, each on its own"
    sizes = f"{size.max()}" if size.min() == size.max() else f"{size.min()} to {size.max()}"
    return f"{len(size)} sets of {sizes} {elements} of a class"


def noun(model: Model) -> str:
    """What an element is called in units and protocols."""
    return "element" if model.of_vectors else "image"


def bits_per_dim(nats: float, image_shape: tuple[int, int, int]) -> float:
    """Nats per image as bits per pixel and channel."""
    return nats / (float(np.prod(image_shape)) * float(np.log(2.0)))

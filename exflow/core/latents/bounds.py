"""Lower bounds on the log evidence of sets, from importance weights, and the training objective of set VAEs.

A log weight is ln w = ln p(X, latents) - ln q(latents | X) for one draw of the latents from q: one number for a whole
set. With a latent c shared by the elements x_s and a latent z_s of each, ln w = ln w_c + sum_s ln w_z_s with

    ln w_c = ln p(c) - ln q(c | X),    ln w_z_s = ln p(x_s | z_s, c) + ln p(z_s | c) - ln q(z_s | c, x_s).

Averaging weights image by image, with a share of ln w_c each, bounds nothing, because c is shared. All values in nats.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

Scalar = int | float | Int[Array, ""] | Float[Array, ""]
DRAWS_AT_ONCE = 16  # of the latents, whose weights are computed side by side


class ImportanceState(NamedTuple):
    """What is kept of the weights seen so far; the leading axes are sets."""

    maximum: Float[Array, "*lead"]  # largest log weight, -inf at the start
    total: Float[Array, "*lead"]  # sum of exp(log weight - maximum)
    total_of_squares: Float[Array, "*lead"]  # sum of the squares of the same
    count: Int[Array, ""]  # number of weights


class ImportanceEstimate(NamedTuple):
    """The result per set."""

    bound: Float[Array, "*lead"]  # IWAE bound, nats
    standard_error: Float[Array, "*lead"]  # of the bound, nats; infinite for one sample
    effective_sample_size: Float[Array, "*lead"]  # from 1 (one weight dominates) to the number of samples


def init(shape: tuple[int, ...] = (), dtype: jnp.dtype | type = jnp.float32) -> ImportanceState:
    """The state of `shape` sets before the first sample."""
    zeros = jnp.zeros(shape, dtype)
    return ImportanceState(jnp.full(shape, -jnp.inf, dtype), zeros, zeros, jnp.zeros((), jnp.int32))


def update(state: ImportanceState, log_weights: Float[Array, "samples *lead"]) -> ImportanceState:
    """The state after a chunk of samples more, so that any number of them needs the memory of one chunk.

    Args:
      state: Result of `init` or `update`.
      log_weights: At least one sample per set; -inf is a weight of zero.

    Returns:
      The same state as for all samples at once, whatever the chunks.
    """
    maximum = jnp.maximum(state.maximum, jax.lax.stop_gradient(log_weights.max(axis=0)))
    reference = _finite(maximum)
    rescale = jnp.exp(state.maximum - reference)
    weights = jnp.exp(log_weights - reference[jnp.newaxis])
    return ImportanceState(
        maximum=maximum,
        total=state.total * rescale + weights.sum(axis=0),
        total_of_squares=state.total_of_squares * rescale**2 + (weights**2).sum(axis=0),
        count=state.count + log_weights.shape[0],
    )


def finalize(state: ImportanceState) -> ImportanceEstimate:
    """Bound, its standard error and the effective sample size of at least one sample per set.

    With K weights, their sum S and sum of squares Q, the bound is ln(S / K) and the effective sample size S^2 / Q. The
    delta method divides the standard error of the mean weight by the mean: sqrt((K Q / S^2 - 1) / (K - 1)). It is the
    spread over repetitions with other random numbers, not over sets, and too small when few weights dominate.

    Source: Burda et al. 2016, arXiv:1509.00519, equation 8.
    """
    count = state.count.astype(state.total.dtype)
    possible = state.total > 0
    squares = jnp.where(possible, state.total_of_squares, 1.0)
    effective_sample_size = jnp.where(possible, state.total**2 / squares, 0.0)
    excess = count / jnp.where(possible, effective_sample_size, 1.0) - 1.0
    standard_error = jnp.sqrt(jnp.maximum(excess, 0.0) / jnp.maximum(count - 1.0, 1.0))
    known = possible & (count > 1)
    return ImportanceEstimate(_log_mean(state), jnp.where(known, standard_error, jnp.inf), effective_sample_size)


def _finite(maximum: Array) -> Array:
    """A number to subtract from the log weights; 0 where all are -inf (or one is not a number, which spreads)."""
    return jnp.where(jnp.isfinite(maximum), maximum, 0.0)


def _log_mean(state: ImportanceState) -> Array:
    return jnp.log(state.total) + _finite(state.maximum) - jnp.log(state.count.astype(state.total.dtype))


def iwae_bound(log_weights: Float[Array, "..."], axis: int = 0) -> Float[Array, "..."]:
    """ln of the mean weight over the samples along `axis`: a lower bound on the log evidence in expectation.

    One sample gives the single-sample ELBO; the expectation never falls with the number of samples and tends to the
    log evidence. It can be differentiated.

    Args:
      log_weights: Log weights of whole sets.
      axis: Where the samples are.

    Returns:
      The bound, the other axes kept.

    Source: Burda et al. 2016, arXiv:1509.00519, equation 8.
    """
    samples_first = jnp.moveaxis(log_weights, axis, 0)
    return _log_mean(update(init(samples_first.shape[1:], samples_first.dtype), samples_first))


def streamed_bound(
    log_weights: Callable[[Key[Array, " some"]], Float[Array, "some *lead"]], keys: Key[Array, " draws"]
) -> Float[Array, "*lead"]:
    """`iwae_bound` of any number of draws, computed `DRAWS_AT_ONCE` at a time, so that memory does not grow with them.

    Args:
      log_weights: Log weights of as many draws as it is given keys.
      keys: One per draw.

    Returns:
      The bound, nats.
    """
    if len(keys) <= DRAWS_AT_ONCE:
        return iwae_bound(log_weights(keys))
    whole = len(keys) // DRAWS_AT_ONCE * DRAWS_AT_ONCE
    like = jax.eval_shape(log_weights, keys[:1])

    def step(state: ImportanceState, some: Array) -> tuple[ImportanceState, None]:
        return update(state, log_weights(some)), None

    state, _ = jax.lax.scan(step, init(like.shape[1:], like.dtype), keys[:whole].reshape(-1, DRAWS_AT_ONCE))
    if whole < len(keys):
        state = update(state, log_weights(keys[whole:]))
    return _log_mean(state)


def nested_log_weights(
    set_log_weights: Float[Array, "outer *lead"],
    element_log_weights: Float[Array, "outer inner *lead set"],
    mask: Bool[Array, "*lead set"] | None = None,
) -> Float[Array, "outer *lead"]:
    """Log weights of sets for each draw of the shared latent, its elements' latents averaged out one by one.

    ln w_c + sum_s ln mean_i w_z_s^(i). Given c the elements are independent, so that the product of their averages is
    an unbiased estimate of p(X | c), and each term an ordinary weight for `update` or `iwae_bound`. One inner sample
    gives the plain weights of sets.

    Args:
      set_log_weights: ln w_c.
      element_log_weights: ln w_z_s, the inner draws of z_s given the outer draw of c.
      mask: False where a ragged set has no element; whatever stands there, NaN included, changes nothing.

    Returns:
      One log weight per outer draw and set.
    """
    if mask is not None:
        element_log_weights = jnp.where(mask[jnp.newaxis, jnp.newaxis], element_log_weights, 0.0)
    return set_log_weights + iwae_bound(element_log_weights, axis=1).sum(axis=-1)


def nested_bound(
    set_log_weights: Float[Array, "outer *lead"],
    element_log_weights: Float[Array, "outer inner *lead set"],
    mask: Bool[Array, "*lead set"] | None = None,
) -> Float[Array, "*lead"]:
    """Lower bound on ln p(X) of models with one shared latent: the IWAE bound of `nested_log_weights`.

    A plain weight is a product over the set, whose spread grows with the set size; here each factor is an average. With
    the same number of element draws the bound is tighter, the more so the larger the set.
    """
    return iwae_bound(nested_log_weights(set_log_weights, element_log_weights, mask))


def loss_weight(alpha0: Scalar, step_factor: Scalar, epoch: Scalar) -> Float[Array, ""]:
    """Weight w = 1 + alpha0 step_factor^epoch of the reconstruction in training; evaluation uses w = 1.

    Args:
      alpha0: Excess at the first epoch, at least 0.
      step_factor: Factor per epoch, in (0, 1].
      epoch: Completed epochs; fractions are allowed.
    """
    return 1.0 + alpha0 * jnp.power(step_factor, jnp.asarray(epoch, jnp.float32))


def weighted_elbo(
    log_prob: Float[Array, "*shape"],
    kl_z: Float[Array, "*shape"],
    kl_c: Float[Array, "*shape"],
    w: Scalar = 1.0,
) -> Float[Array, "*shape"]:
    """w log_prob - (kl_z + kl_c) / w: up to the factor w an ELBO whose KL terms count 1 / w^2.

    Args:
      log_prob: Reconstruction, per element: the sum over the set divided by the set size.
      kl_z: KL terms of the elements' latents, summed over levels, per element.
      kl_c: KL terms of the shared latents, summed over levels and divided by the set size too.
      w: At least 1, see `loss_weight`; 1 gives a lower bound on ln p(X) / set size.

    Returns:
      The objective to maximise; the loss is minus its mean.
    """
    return w * log_prob - (kl_z + kl_c) / w


def free_bits(kl_per_level: Float[Array, " level"], nats: Scalar) -> Float[Array, " level"]:
    """max(KL, nats) for each level: a level is not pushed below `nats`, so that it can start to be used.

    The maximum is taken of the mean over the batch, not of every example: examples may then differ in how much a level
    tells about them, and only a level that is idle on the whole is left alone. There its gradient is exactly zero. A
    bound is reported with the KL terms themselves; this belongs in the loss only.

    Args:
      kl_per_level: Means over the batch, in the units of the objective.
      nats: Threshold per level, at least 0; 0 changes nothing.

    Returns:
      The same shape; NaN stays NaN.

    Source: Kingma et al. 2016, arXiv:1606.04934, equation 15.
    """
    return jnp.where(kl_per_level <= nats, nats, kl_per_level)

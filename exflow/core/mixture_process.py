"""Exchangeable mixture of a Gaussian and a Student-t process: each dimension decides between light and heavy tails.

Per dimension the whole sequence z_1, z_2, ... comes from the Gaussian process with probability pi and from the
Student-t process otherwise; both have the same mean mu, variance v and covariance rho, so that they differ in their
tails alone. As a mixture of exchangeable laws it is exchangeable and consistent. Given a set the predictive is the
mixture of both predictives with the posterior weights; the determinants of both joint densities are equal, so the
posterior odds need the count and the Mahalanobis square beta of the set only. Dimensions are independent; log densities
are summed over them, in nats.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from exflow.core import class_scores, exchangeable, statistics
from exflow.core.distributions import (
    log_evidence_ratio,
    normal_log_prob,
    student_t_predictive_log_prob,
    without_overflow,
)
from exflow.core.exchangeable import Location, Moment
from exflow.core.process import Marginals, Process, merge, remove, set_densities, update, update_set
from exflow.core.statistics import SetStatistics, with_rank
from exflow.typing import PRNGKey


class MixtureParams(NamedTuple):
    """Parameters per dimension, in the form that needs no subtraction; build them with `from_moments`."""

    mean: Float[Array, " dim"]  # mu
    within_variance: Float[Array, " dim"]  # v - rho > 0: average variance of an element around the location of its set
    covariance_ratio: Float[Array, " dim"]  # rho / (v - rho) >= 0: one over the number of elements the prior counts for
    excess_degrees_of_freedom: Float[Array, " dim"]  # nu - 2 > 0 of the Student-t process
    gaussian_logit: Float[Array, " dim"]  # ln(pi / (1 - pi))

    @property
    def variance(self) -> Float[Array, " dim"]:
        """v."""
        return self.within_variance * (1.0 + self.covariance_ratio)

    @property
    def covariance(self) -> Float[Array, " dim"]:
        """rho."""
        return self.within_variance * self.covariance_ratio

    @property
    def correlation(self) -> Float[Array, " dim"]:
        """rho / v."""
        return self.covariance_ratio / (1.0 + self.covariance_ratio)

    @property
    def degrees_of_freedom(self) -> Float[Array, " dim"]:
        """nu."""
        return self.excess_degrees_of_freedom + 2.0

    @property
    def gaussian_weight(self) -> Float[Array, " dim"]:
        """pi."""
        return jax.nn.sigmoid(self.gaussian_logit)


class MixturePredictive(NamedTuple):
    """Distribution of the next element given those seen: a mixture of two laws of equal mean."""

    mean: Float[Array, "*lead dim"]
    variance: Float[Array, "*lead dim"]  # of the mixture
    degrees_of_freedom: Float[Array, "*lead dim"]  # of the Student-t component
    gaussian_weight: Float[Array, "*lead dim"]  # posterior probability of the Gaussian process


class _ScaleBelief(NamedTuple):
    """What predictive and samples need of (params, state), at one rank."""

    where: Location
    excess: Array  # nu - 2
    beta: Array
    student_t_logit: Array  # posterior log odds of the Student-t process


def from_moments(
    mean: Moment,
    variance: Moment,
    covariance: Moment,
    degrees_of_freedom: Moment,
    gaussian_weight: Moment,
) -> MixtureParams:
    """Parameters with mean mu, variance v, covariance rho, nu degrees of freedom and weight pi per dimension.

    Args:
      mean: Any real values.
      variance: Above `covariance`.
      covariance: At least 0.
      degrees_of_freedom: Above 2 and finite.
      gaussian_weight: Prior probability of the Gaussian process, in (0, 1).

    Returns:
      The parameters.

    Raises:
      ValueError: Shapes differ, or values are out of range.
    """
    location = exchangeable.location_from_moments(mean, variance, covariance)
    excess = exchangeable.excess_from_degrees_of_freedom(degrees_of_freedom, location[0].shape)
    (weight,) = exchangeable.as_given(gaussian_weight)
    if weight.shape != location[0].shape:
        raise ValueError(
            f"gaussian_weight: expected {location[0].shape}, got {weight.shape}. Use jnp.full(dim, value)."
        )
    exchangeable.check_values("gaussian_weight", (weight > 0) & (weight < 1), "values between 0 and 1", weight)
    logarithms = jnp if isinstance(weight, Array) else np
    return MixtureParams(*location, excess, jnp.asarray(logarithms.log(weight) - logarithms.log1p(-weight)))


def init_raw(
    dim: int,
    variance: float = 1.0,
    correlation: float = 0.1,
    degrees_of_freedom: float = 1000.0,
    gaussian_weight: float = 0.5,
    mean: float = 0.0,
) -> dict[str, Array]:
    """Trainable parameters of `dim` equal dimensions: arrays `[dim]` that may take any real value.

    Those of the Student-t process, and pi = sigmoid(raw_gaussian_weight).

    Args:
      dim: Number of dimensions.
      variance: v, above 0.
      correlation: rho / v, in (0, 1).
      degrees_of_freedom: nu, above 2. Components that differ learn faster: 10 rather than 1000.
      gaussian_weight: pi, in (0, 1).
      mean: mu.

    Returns:
      {"mean", "raw_variance", "raw_correlation", "raw_degrees_of_freedom", "raw_gaussian_weight"}.
    """
    moments = (mean, variance, variance * correlation, degrees_of_freedom, gaussian_weight)
    return unconstrain(from_moments(*(jnp.full(dim, value, float) for value in moments)))


def constrain(raw: dict[str, Array]) -> MixtureParams:
    """Raw (trainable) parameters -> parameters; see `init_raw`."""
    excess = exchangeable.constrain_excess(raw["raw_degrees_of_freedom"])
    return MixtureParams(*exchangeable.constrain_location(raw), excess, raw["raw_gaussian_weight"])


def unconstrain(params: MixtureParams) -> dict[str, Array]:
    """Parameters -> raw (trainable) parameters, the inverse of `constrain`."""
    tails = {
        "raw_degrees_of_freedom": jnp.log(params.excess_degrees_of_freedom),
        "raw_gaussian_weight": params.gaussian_logit,
    }
    return exchangeable.unconstrain_location(params) | tails


def fit(
    z_set: Float[Array, "batch set dim"],
    learn_mean: bool = True,
    degrees_of_freedom: float = 1000.0,
    gaussian_weight: float = 0.5,
    min_correlation: float = 1e-4,
    min_variance: float = 1e-6,
    mask: Bool[Array, "batch set"] | None = None,
) -> MixtureParams:
    """Mean, variance and covariance of `gaussian_process.fit`, which both components share; nu and pi as given.

    Args:
      z_set: Sets, of equal size unless masked; at least two elements per set to learn the covariance.
      learn_mean: Estimate mu; otherwise it is 0.
      degrees_of_freedom: nu of every dimension, above 2.
      gaussian_weight: pi of every dimension, in (0, 1).
      min_correlation: Least rho / v, in [0, 1); above 0 so that `unconstrain` gives a trainable value.
      min_variance: Least v.
      mask: Elements where it is False do not count and may hold anything.

    Returns:
      The parameters.
    """
    location = exchangeable.fit_location(z_set, learn_mean, min_correlation, min_variance, mask)
    logit = math.log(gaussian_weight) - math.log1p(-gaussian_weight)
    tails = (jnp.full_like(location[0], value) for value in (degrees_of_freedom - 2.0, logit))
    return MixtureParams(*location, *tails)


def init_state(params: MixtureParams, batch_shape: tuple[int, ...] = ()) -> SetStatistics:
    """State of the empty set, or of `batch_shape` empty sets."""
    return statistics.empty((*batch_shape, *params.mean.shape), exchangeable.float_type(params), with_scatter=True)


def _belief(params: MixtureParams, state: SetStatistics, ndim: int | None = None) -> _ScaleBelief:
    where = exchangeable.location(params, state, ndim)
    beta = where.quadratic_form
    if beta is None:
        raise ValueError("state: expected one with scatter, got none. Start from mixture_process.init_state.")
    excess = without_overflow(params.excess_degrees_of_freedom, params.variance)
    excess, logit = (with_rank(x, beta.ndim) for x in (excess, params.gaussian_logit))
    return _ScaleBelief(where, excess, beta, log_evidence_ratio(excess, where.count, beta) - logit)


def predictive(params: MixtureParams, state: SetStatistics) -> MixturePredictive:
    """Mean and variance of the next element, and the two components of its law."""
    where, excess, beta, logit = _belief(params, state)
    mean = exchangeable.predictive_mean(state, where)
    gain = jax.nn.sigmoid(logit) * (beta - where.count) / (excess + where.count)
    degrees_of_freedom = jnp.broadcast_to(excess + (2.0 + where.count), mean.shape)
    return MixturePredictive(mean, (1.0 + gain) * where.variance, degrees_of_freedom, jax.nn.sigmoid(-logit))


def predictive_log_prob(
    params: MixtureParams, state: SetStatistics, z: Float[Array, "*lead dim"]
) -> Float[Array, "*out"]:
    """log p(z | seen), summed over dimensions, in nats; leading axes of `state` and `z` broadcast."""
    where, excess, beta, logit = _belief(params, state, max(z.ndim, state.ndim))
    squared_residual = exchangeable.residual(state, where, z) ** 2
    gaussian = normal_log_prob(squared_residual, where.variance)
    innovation = squared_residual / where.variance
    student_t = student_t_predictive_log_prob(innovation, where.variance, excess, where.count, beta)
    return jnp.logaddexp(gaussian - jax.nn.softplus(logit), student_t - jax.nn.softplus(-logit)).sum(axis=-1)


log_prob, log_prob_recurrent, log_prob_parallel, leave_one_out_log_prob = set_densities(
    lambda params, set_size: predictive_log_prob, with_scatter=True
)


def class_log_probs(
    params: MixtureParams, states: SetStatistics, queries: Float[Array, "*lead query dim"]
) -> Float[Array, "*lead query class"]:
    """log p(query | class) for all pairs, in nats, some queries at a time so that memory stays bounded.

    Args:
      params: Parameters.
      states: One state per class; leading axes `[..., class]`.
      queries: Elements to score against all classes of the same leading index.

    Returns:
      Log densities; add log class priors to classify.
    """
    return class_scores.log_probs_in_blocks(predictive_log_prob, params, states, queries)


def _sample_scale(belief: _ScaleBelief, key: PRNGKey, shape: tuple[int, ...]) -> Array:
    """Draws of the scale of the variances: 1 where a dimension is Gaussian, else that of its Student-t process."""
    component_key, scale_key = jax.random.split(key)
    logit, excess, count, beta = (
        with_rank(x, len(shape)) for x in (belief.student_t_logit, belief.excess, belief.where.count, belief.beta)
    )
    heavy = jax.random.bernoulli(component_key, jax.nn.sigmoid(logit), shape)
    return jnp.where(heavy, exchangeable.sample_scale(excess, count, beta, scale_key, shape), 1.0)


def sample(
    params: MixtureParams, state: SetStatistics, key: PRNGKey, num_samples: int
) -> Float[Array, "num *lead dim"]:
    """Independent draws of the next element given those seen."""
    belief = _belief(params, state)
    mean = exchangeable.predictive_mean(state, belief.where)[jnp.newaxis]
    scale_key, element_key = jax.random.split(key)
    shape = (num_samples, *mean.shape[1:])
    variance = _sample_scale(belief, scale_key, shape) * with_rank(belief.where.variance, len(shape))
    return mean + jnp.sqrt(variance) * jax.random.normal(element_key, shape, mean.dtype)


def sample_joint(
    params: MixtureParams, state: SetStatistics, key: PRNGKey, num_samples: int
) -> Float[Array, "num *lead dim"]:
    """Draws of the next `num_samples` elements together: one component, scale and location per set, then elements.

    The law is that of drawing one element after the other and absorbing each.
    """
    belief = _belief(params, state)
    mean = exchangeable.predictive_mean(state, belief.where)
    scale_key, location_key, element_key = jax.random.split(key, 3)
    deviation = jnp.sqrt(_sample_scale(belief, scale_key, mean.shape) * with_rank(params.within_variance, mean.ndim))
    location_noise = jax.random.normal(location_key, mean.shape, mean.dtype)
    theta = mean + deviation * exchangeable.deviation_of(belief.where.posterior_ratio) * location_noise
    noise = jax.random.normal(element_key, (num_samples, *mean.shape), mean.dtype)
    return theta[jnp.newaxis] + deviation[jnp.newaxis] * noise


PROCESS = Process(
    init_raw=init_raw,
    constrain=constrain,
    unconstrain=unconstrain,
    fit=fit,
    marginals=lambda params: Marginals(
        params.mean, params.variance, params.correlation, params.degrees_of_freedom, params.gaussian_weight
    ),
    init_state=init_state,
    update=update,
    update_set=update_set,
    merge=merge,
    remove=remove,
    predictive=predictive,
    predictive_log_prob=predictive_log_prob,
    log_prob=log_prob,
    leave_one_out_log_prob=leave_one_out_log_prob,
    class_log_probs=class_log_probs,
    sample=sample,
    sample_joint=sample_joint,
)

"""Exchangeable Gaussian process: exact densities, streaming updates and samples of sets of real vectors.

Per dimension z_1, z_2, ... are jointly Gaussian with mean mu, variance v and equal covariances 0 <= rho < v. That is
theta ~ N(mu, rho), z_n | theta ~ N(theta, v - rho) independently, so a set of any size is remembered by its count and
mean. Dimensions are independent; log densities are summed over them, in nats.

Source: Korshunova et al. 2018, arXiv:1802.07535, section 2.2 and equation 7.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from exflow.core import class_scores, exchangeable, statistics
from exflow.core.distributions import normal_log_prob
from exflow.core.exchangeable import Moment
from exflow.core.process import Process, marginals, merge, remove, set_densities, update, update_set
from exflow.core.statistics import SetStatistics
from exflow.typing import PRNGKey


class GaussianParams(NamedTuple):
    """Parameters per dimension, in the form that needs no subtraction; build them with `from_moments`."""

    mean: Float[Array, " dim"]  # mu
    within_variance: Float[Array, " dim"]  # v - rho > 0: variance of an element around the location of its set
    covariance_ratio: Float[Array, " dim"]  # rho / (v - rho) >= 0: one over the number of elements the prior counts for

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


class GaussianPredictive(NamedTuple):
    """Distribution of the next element given those seen."""

    mean: Float[Array, "*lead dim"]
    variance: Float[Array, "*lead dim"]


def from_moments(mean: Moment, variance: Moment, covariance: Moment) -> GaussianParams:
    """Parameters with mean mu, variance v and covariance rho per dimension.

    Args:
      mean: Any real values.
      variance: Above `covariance`.
      covariance: At least 0.

    Returns:
      The parameters.

    Raises:
      ValueError: Shapes differ, or not 0 <= covariance < variance.
    """
    return GaussianParams(*exchangeable.location_from_moments(mean, variance, covariance))


def init_raw(dim: int, variance: float = 1.0, correlation: float = 0.1, mean: float = 0.0) -> dict[str, Array]:
    """Trainable parameters of `dim` equal dimensions: arrays `[dim]` that may take any real value.

    v = softplus(raw_variance)^2, rho / v = sigmoid(raw_correlation); the mean is itself.

    Args:
      dim: Number of dimensions.
      variance: v, above 0.
      correlation: rho / v, in (0, 1).
      mean: mu.

    Returns:
      {"mean", "raw_variance", "raw_correlation"}.
    """
    moments = (jnp.full(dim, value, float) for value in (mean, variance, variance * correlation))
    return unconstrain(from_moments(*moments))


def constrain(raw: dict[str, Array]) -> GaussianParams:
    """Raw (trainable) parameters -> parameters; see `init_raw`."""
    return GaussianParams(*exchangeable.constrain_location(raw))


def unconstrain(params: GaussianParams) -> dict[str, Array]:
    """Parameters -> raw (trainable) parameters, the inverse of `constrain`."""
    return exchangeable.unconstrain_location(params)


def fit(
    z_set: Float[Array, "batch set dim"],
    learn_mean: bool = True,
    min_correlation: float = 1e-4,
    min_variance: float = 1e-6,
    mask: Bool[Array, "batch set"] | None = None,
) -> GaussianParams:
    """Maximum-likelihood parameters of sets of equal size, in closed form; moment estimates for ragged ones.

    Args:
      z_set: Sets of elements; at least two elements per set to learn the covariance.
      learn_mean: Estimate mu; otherwise it is 0.
      min_correlation: Least rho / v, in [0, 1); above 0 so that `unconstrain` gives a trainable value.
      min_variance: Least v.
      mask: Elements where it is False do not count and may hold anything.

    Returns:
      For equal sizes the maximiser of the summed `log_prob`, within these bounds and rho / (v - rho) <= 1e4.
    """
    return GaussianParams(*exchangeable.fit_location(z_set, learn_mean, min_correlation, min_variance, mask))


def init_state(params: GaussianParams, batch_shape: tuple[int, ...] = ()) -> SetStatistics:
    """State of the empty set, or of `batch_shape` empty sets."""
    return statistics.empty((*batch_shape, *params.mean.shape), exchangeable.float_type(params), with_scatter=False)


def predictive(params: GaussianParams, state: SetStatistics) -> GaussianPredictive:
    """Mean and variance of the next element; the variance is at least v - rho."""
    where = exchangeable.location(params, state)
    return GaussianPredictive(exchangeable.predictive_mean(state, where), where.variance)


def predictive_log_prob(
    params: GaussianParams, state: SetStatistics, z: Float[Array, "*lead dim"]
) -> Float[Array, "*out"]:
    """log p(z | seen), summed over dimensions, in nats; leading axes of `state` and `z` broadcast."""
    where = exchangeable.location(params, state, max(z.ndim, state.ndim))
    squared_residual = exchangeable.residual(state, where, z) ** 2
    return normal_log_prob(squared_residual, where.variance).sum(axis=-1)


log_prob, log_prob_recurrent, log_prob_parallel, leave_one_out_log_prob = set_densities(
    lambda params, set_size: predictive_log_prob, with_scatter=False
)


def class_log_probs(
    params: GaussianParams, states: SetStatistics, queries: Float[Array, "*lead query dim"]
) -> Float[Array, "*lead query class"]:
    """log p(query | class) for all pairs, in nats, as two matrix products where that is exact enough.

    Args:
      params: Parameters.
      states: One state per class; leading axes `[..., class]`.
      queries: Elements to score against all classes of the same leading index.

    Returns:
      Log densities; add log class priors to classify.
    """
    products = class_scores.diagonal_gaussian_log_probs(*predictive(params, states), queries)
    return class_scores.unless_cancelled(products, predictive_log_prob, params, states, queries)


def sample(
    params: GaussianParams, state: SetStatistics, key: PRNGKey, num_samples: int
) -> Float[Array, "num *lead dim"]:
    """Independent draws of the next element given those seen."""
    mean, variance = predictive(params, state)
    noise = jax.random.normal(key, (num_samples, *mean.shape), mean.dtype)
    return mean[jnp.newaxis] + jnp.sqrt(variance)[jnp.newaxis] * noise


def sample_joint(
    params: GaussianParams, state: SetStatistics, key: PRNGKey, num_samples: int
) -> Float[Array, "num *lead dim"]:
    """Draws of the next `num_samples` elements together: one location theta per set, then elements around it.

    The law is that of drawing one element after the other and absorbing each.
    """
    where = exchangeable.location(params, state)
    mean = exchangeable.predictive_mean(state, where)
    location_key, element_key = jax.random.split(key)
    deviation = jnp.sqrt(params.within_variance).reshape((1,) * (mean.ndim - 1) + (-1,))
    theta = mean + deviation * exchangeable.deviation_of(where.posterior_ratio) * jax.random.normal(
        location_key, mean.shape, mean.dtype
    )
    noise = jax.random.normal(element_key, (num_samples, *mean.shape), mean.dtype)
    return theta[jnp.newaxis] + deviation[jnp.newaxis] * noise


PROCESS = Process(
    init_raw=init_raw,
    constrain=constrain,
    unconstrain=unconstrain,
    fit=fit,
    marginals=marginals,
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

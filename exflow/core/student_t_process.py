"""Exchangeable Student-t process: exact densities, streaming updates and samples of sets of real vectors.

Per dimension z_1, z_2, ... are jointly Student-t with nu degrees of freedom, mean mu and *covariance matrix* (not
scale matrix) with variance v and equal covariances 0 <= rho < v. That is w ~ InvGamma(nu / 2, (nu - 2) / 2),
theta | w ~ N(mu, w rho), z_n | theta, w ~ N(theta, w (v - rho)) independently: the Gaussian process with a shared
random scale, so a set is remembered by its count, mean and scatter. Dimensions are independent; log densities are
summed over them, in nats. For large nu it is the Gaussian process, without loss of accuracy in float32.

Source: Korshunova et al. 2018, arXiv:1802.07535, section 2.2; Shah et al. 2014, arXiv:1402.4306.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from exflow.core import class_scores, exchangeable, statistics
from exflow.core.distributions import student_t_predictive_log_prob, without_overflow
from exflow.core.exchangeable import Location, Moment
from exflow.core.process import Process, marginals, merge, remove, set_densities, update, update_set
from exflow.core.statistics import SetStatistics, with_rank
from exflow.typing import PRNGKey


class StudentTParams(NamedTuple):
    """Parameters per dimension, in the form that needs no subtraction; build them with `from_moments`."""

    mean: Float[Array, " dim"]  # mu
    within_variance: Float[Array, " dim"]  # v - rho > 0: average variance of an element around the location of its set
    covariance_ratio: Float[Array, " dim"]  # rho / (v - rho) >= 0: one over the number of elements the prior counts for
    excess_degrees_of_freedom: Float[Array, " dim"]  # nu - 2 > 0

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


class StudentTPredictive(NamedTuple):
    """Distribution of the next element given those seen."""

    mean: Float[Array, "*lead dim"]
    variance: Float[Array, "*lead dim"]  # the variance, not the squared scale
    degrees_of_freedom: Float[Array, "*lead dim"]


def from_moments(
    mean: Moment,
    variance: Moment,
    covariance: Moment,
    degrees_of_freedom: Moment,
) -> StudentTParams:
    """Parameters with mean mu, variance v, covariance rho and nu degrees of freedom per dimension.

    Args:
      mean: Any real values.
      variance: Above `covariance`.
      covariance: At least 0.
      degrees_of_freedom: Above 2 and finite; 1e30 is the Gaussian process.

    Returns:
      The parameters.

    Raises:
      ValueError: Shapes differ, or values are out of range.
    """
    location = exchangeable.location_from_moments(mean, variance, covariance)
    return StudentTParams(*location, exchangeable.excess_from_degrees_of_freedom(degrees_of_freedom, location[0].shape))


def init_raw(
    dim: int, variance: float = 1.0, correlation: float = 0.1, degrees_of_freedom: float = 1000.0, mean: float = 0.0
) -> dict[str, Array]:
    """Trainable parameters of `dim` equal dimensions: arrays `[dim]` that may take any real value.

    v = softplus(raw_variance)^2, rho / v = sigmoid(raw_correlation), nu = 2 + exp(raw_degrees_of_freedom).

    Args:
      dim: Number of dimensions.
      variance: v, above 0.
      correlation: rho / v, in (0, 1).
      degrees_of_freedom: nu, above 2.
      mean: mu.

    Returns:
      {"mean", "raw_variance", "raw_correlation", "raw_degrees_of_freedom"}.
    """
    moments = (mean, variance, variance * correlation, degrees_of_freedom)
    return unconstrain(from_moments(*(jnp.full(dim, value, float) for value in moments)))


def constrain(raw: dict[str, Array]) -> StudentTParams:
    """Raw (trainable) parameters -> parameters; see `init_raw`."""
    return StudentTParams(
        *exchangeable.constrain_location(raw), exchangeable.constrain_excess(raw["raw_degrees_of_freedom"])
    )


def unconstrain(params: StudentTParams) -> dict[str, Array]:
    """Parameters -> raw (trainable) parameters, the inverse of `constrain`."""
    raw = exchangeable.unconstrain_location(params)
    return raw | {"raw_degrees_of_freedom": jnp.log(params.excess_degrees_of_freedom)}


def fit(
    z_set: Float[Array, "batch set dim"],
    learn_mean: bool = True,
    degrees_of_freedom: float = 1000.0,
    min_correlation: float = 1e-4,
    min_variance: float = 1e-6,
    mask: Bool[Array, "batch set"] | None = None,
) -> StudentTParams:
    """Mean, variance and covariance that are the maximum-likelihood ones of a Gaussian process, with the given nu.

    These are the moments of the process whatever nu is; the likelihood of a Student-t has no closed-form optimum.

    Args:
      z_set: Sets, of equal size unless masked; at least two elements per set to learn the covariance.
      learn_mean: Estimate mu; otherwise it is 0.
      degrees_of_freedom: nu of every dimension, above 2.
      min_correlation: Least rho / v, in [0, 1); above 0 so that `unconstrain` gives a trainable value.
      min_variance: Least v.
      mask: Elements where it is False do not count and may hold anything.

    Returns:
      The parameters.
    """
    location = exchangeable.fit_location(z_set, learn_mean, min_correlation, min_variance, mask)
    return StudentTParams(*location, jnp.full_like(location[0], degrees_of_freedom - 2.0))


def init_state(params: StudentTParams, batch_shape: tuple[int, ...] = ()) -> SetStatistics:
    """State of the empty set, or of `batch_shape` empty sets."""
    return statistics.empty((*batch_shape, *params.mean.shape), exchangeable.float_type(params), with_scatter=True)


def _belief(params: StudentTParams, state: SetStatistics, ndim: int | None = None) -> tuple[Location, Array, Array]:
    """Location part, nu - 2 at the same rank, and beta."""
    where = exchangeable.location(params, state, ndim)
    if where.quadratic_form is None:
        raise ValueError("state: expected one with scatter, got none. Start from student_t_process.init_state.")
    excess = without_overflow(params.excess_degrees_of_freedom, params.variance)
    return where, with_rank(excess, where.variance.ndim), where.quadratic_form


def predictive(params: StudentTParams, state: SetStatistics) -> StudentTPredictive:
    """Mean, variance and degrees of freedom of the next element."""
    where, excess, beta = _belief(params, state)
    mean = exchangeable.predictive_mean(state, where)
    scale = 1.0 + (beta - where.count) / (excess + where.count)
    degrees_of_freedom = jnp.broadcast_to(excess + (2.0 + where.count), mean.shape)
    return StudentTPredictive(mean, scale * where.variance, degrees_of_freedom)


def predictive_log_prob(
    params: StudentTParams, state: SetStatistics, z: Float[Array, "*lead dim"]
) -> Float[Array, "*out"]:
    """log p(z | seen), summed over dimensions, in nats; leading axes of `state` and `z` broadcast."""
    where, excess, beta = _belief(params, state, max(z.ndim, state.ndim))
    innovation = exchangeable.residual(state, where, z) ** 2 / where.variance
    return student_t_predictive_log_prob(innovation, where.variance, excess, where.count, beta).sum(axis=-1)


log_prob, log_prob_recurrent, log_prob_parallel, leave_one_out_log_prob = set_densities(
    lambda params, set_size: predictive_log_prob, with_scatter=True
)


def class_log_probs(
    params: StudentTParams, states: SetStatistics, queries: Float[Array, "*lead query dim"]
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


def sample(
    params: StudentTParams, state: SetStatistics, key: PRNGKey, num_samples: int
) -> Float[Array, "num *lead dim"]:
    """Independent draws of the next element given those seen."""
    where, excess, beta = _belief(params, state)
    mean = exchangeable.predictive_mean(state, where)
    shape = (num_samples, *mean.shape)
    scale_key, element_key = jax.random.split(key)
    excess, count, beta, variance = (with_rank(x, len(shape)) for x in (excess, where.count, beta, where.variance))
    scale = exchangeable.sample_scale(excess, count, beta, scale_key, shape)
    return mean[jnp.newaxis] + jnp.sqrt(scale * variance) * jax.random.normal(element_key, shape, mean.dtype)


def sample_joint(
    params: StudentTParams, state: SetStatistics, key: PRNGKey, num_samples: int
) -> Float[Array, "num *lead dim"]:
    """Draws of the next `num_samples` elements together: one scale w and location theta per set, then elements.

    The law is that of drawing one element after the other and absorbing each.
    """
    where, excess, beta = _belief(params, state)
    mean = exchangeable.predictive_mean(state, where)
    scale_key, location_key, element_key = jax.random.split(key, 3)
    scale = exchangeable.sample_scale(excess, where.count, beta, scale_key, mean.shape)
    deviation = jnp.sqrt(scale * with_rank(params.within_variance, mean.ndim))
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
    marginals=lambda params: marginals(params)._replace(degrees_of_freedom=params.degrees_of_freedom),
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

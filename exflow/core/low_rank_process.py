"""Exchangeable Gaussian process whose dimensions share a few factors, so that evidence in one informs the others.

The location of a set is theta ~ N(mu, diag(rho) + A A') with A [dim, rank], and z_n | theta ~ N(theta, diag(v - rho))
independently. Given the factors f ~ N(0, 1), with theta = mu + A f + diag(rho)^1/2 noise, dimensions are independent
Gaussian processes; what couples them is therefore a Gaussian of `rank` dimensions. With b = A / sqrt(v - rho) and
r = rho / (v - rho) the factors have, given N elements, the precision matrix

    M_N = 1 + b' diag(N / (1 + N r)) b,

which depends on the count alone. Densities follow by Woodbury's identity from Cholesky factors of M_N and M_{N+1}, in
O(dim rank) per element; the quadratic form is written as a minimum over the factors, a sum of non-negative terms. A set
is remembered by its count and mean; log densities are joint over dimensions, in nats. A = 0 is the Gaussian process.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exflow.core import class_scores, exchangeable, statistics
from exflow.core.distributions import normal_log_prob
from exflow.core.exchangeable import Location
from exflow.core.low_rank_factors import FactorPrecision, contract, factor_precision, solve
from exflow.core.low_rank_params import LowRankParams, constrain, fit, from_moments, init_raw, unconstrain
from exflow.core.process import Density, Process, marginals, merge, remove, set_densities, update, update_set
from exflow.core.statistics import SetStatistics, with_rank
from exflow.typing import PRNGKey

__all__ = ["LowRankParams", "constrain", "fit", "from_moments", "init_raw", "unconstrain"]


class LowRankPredictive(NamedTuple):
    """Gaussian distribution of the next element, with covariance matrix diag(variance - sum factor^2) + factor factor'.

    The sum is over the rank, so that `variance` is that of every dimension by itself.
    """

    mean: Float[Array, "*lead dim"]
    variance: Float[Array, "*lead dim"]
    factor: Float[Array, "*lead dim rank"]


class _FactorBelief(NamedTuple):
    """What densities and samples need of (params, state), at one rank."""

    where: Location  # of independent dimensions, that is with f = 0
    deviation: Array  # sqrt(v - rho)
    shrinkage: Array  # 1 / (1 + N r): how much of b f reaches the next element once N are seen
    factors: Array  # posterior mean of f, [..., rank]
    now: FactorPrecision  # M_N
    after: FactorPrecision  # M_{N+1}


def init_state(params: LowRankParams, batch_shape: tuple[int, ...] = ()) -> SetStatistics:
    """State of the empty set, or of `batch_shape` empty sets."""
    return statistics.empty((*batch_shape, *params.mean.shape), exchangeable.float_type(params), with_scatter=False)


def _belief(
    params: LowRankParams, state: SetStatistics, ndim: int | None = None, precision: Callable | None = None
) -> _FactorBelief:
    """Belief at rank `ndim`; `precision` looks M_N up by counts, by default it is computed for each of them."""
    precision = precision or partial(factor_precision, params.loading, params.covariance_ratio)
    state = statistics.aligned(state, state.ndim if ndim is None else ndim)
    where = exchangeable.location(params, state)
    within, ratio = (with_rank(x, state.ndim) for x in (params.within_variance, params.covariance_ratio))
    deviation, now = jnp.sqrt(within), precision(state.count)
    # offset = (mu - mean of the set) / (1 + N r), so this is b' diag(N / (1 + N r)) (mean of the set - mu)
    evidence = -where.count * contract("...d,dk->...k", where.offset / deviation, params.loading)
    shrinkage = 1.0 / (1.0 + where.count * ratio)
    return _FactorBelief(where, deviation, shrinkage, solve(now, evidence), now, precision(state.count + 1))


def _reach(params: LowRankParams, belief: _FactorBelief, factors: Array) -> Array:
    """What factors [..., rank] add to the predictive mean, in units of sqrt(v - rho)."""
    shrinkage = with_rank(belief.shrinkage, factors.ndim)
    return shrinkage * contract("...k,dk->...d", factors, params.loading)


def _predictive_mean(params: LowRankParams, state: SetStatistics, belief: _FactorBelief) -> Array:
    shift = belief.deviation * _reach(params, belief, belief.factors)
    return exchangeable.predictive_mean(state, belief.where) + shift


def predictive(params: LowRankParams, state: SetStatistics) -> LowRankPredictive:
    """Mean, variance per dimension and factor of the covariance matrix of the next element."""
    belief = _belief(params, state)
    factor = contract("...kl,dl->...dk", belief.now.inverse, params.loading)
    factor = (belief.deviation * belief.shrinkage)[..., jnp.newaxis] * factor
    mean = _predictive_mean(params, state, belief)
    return LowRankPredictive(mean, belief.where.variance + (factor**2).sum(axis=-1), factor)


def predictive_log_prob(
    params: LowRankParams, state: SetStatistics, z: Float[Array, "*lead dim"]
) -> Float[Array, "*out"]:
    """log p(z | seen), jointly over dimensions, in nats; leading axes of `state` and `z` broadcast."""
    return _log_density(params, state, z, None)


def _log_density(params: LowRankParams, state: SetStatistics, z: Array, precision: Callable | None) -> Array:
    belief = _belief(params, state, max(z.ndim, state.ndim), precision)
    where, spread = belief.where, 1.0 + belief.where.posterior_ratio
    error = exchangeable.residual(state, where, z) / belief.deviation - _reach(params, belief, belief.factors)
    evidence = contract("...d,dk->...k", belief.shrinkage * error / spread, params.loading)
    gain = solve(belief.after, evidence)  # what z changes in the posterior mean of the factors
    rest = belief.deviation * (error - _reach(params, belief, gain))
    penalty = (contract("...lk,...l->...k", belief.now.lower, gain) ** 2).sum(axis=-1)
    log_det = belief.after.half_log_det - belief.now.half_log_det
    return normal_log_prob(rest**2, where.variance).sum(axis=-1) - 0.5 * penalty - log_det


def _tabulated(params: LowRankParams, set_size: int) -> Density:
    """`predictive_log_prob` for sets of fewer than `set_size` elements, which factorises once per count."""
    table = factor_precision(params.loading, params.covariance_ratio, jnp.arange(set_size + 1))

    def density(params: LowRankParams, state: SetStatistics, z: Array) -> Array:
        return _log_density(params, state, z, lambda count: jax.tree.map(lambda leaf: leaf[count], table))

    return density


log_prob, log_prob_recurrent, log_prob_parallel, leave_one_out_log_prob = set_densities(_tabulated, with_scatter=False)


def class_log_probs(
    params: LowRankParams, states: SetStatistics, queries: Float[Array, "*lead query dim"]
) -> Float[Array, "*lead query class"]:
    """log p(query | class) for all pairs, in nats, as three matrix products where that is exact enough.

    Args:
      params: Parameters.
      states: One state per class; leading axes `[..., class]`.
      queries: Elements to score against all classes of the same leading index.

    Returns:
      Log densities; add log class priors to classify.
    """
    belief = _belief(params, states)
    mean = _predictive_mean(params, states, belief)
    independent = class_scores.diagonal_gaussian_log_probs(mean, belief.where.variance, queries)
    weight = belief.shrinkage / (belief.deviation * (1.0 + belief.where.posterior_ratio))
    maps = contract("...kl,dl->...kd", belief.after.inverse, params.loading) * weight[..., jnp.newaxis, :]
    centre = mean.mean(axis=-2, keepdims=True)
    offset = contract("...kd,...d->...k", maps, mean - centre)[..., jnp.newaxis, :, :]
    rows = maps.reshape(*maps.shape[:-3], -1, maps.shape[-1])  # [..., class x rank, dim]
    projected = class_scores.product(queries - centre, rows).reshape(*queries.shape[:-1], *offset.shape[-2:])
    log_det = (belief.after.half_log_det - belief.now.half_log_det)[..., jnp.newaxis, :]
    log_probs = independent.log_probs + 0.5 * ((projected - offset) ** 2).sum(axis=-1) - log_det
    products = independent._replace(log_probs=log_probs)
    return class_scores.unless_cancelled(products, predictive_log_prob, params, states, queries)


def _sample_factors(belief: _FactorBelief, key: PRNGKey, leading: tuple[int, ...]) -> Array:
    """Draws of f given the set, [*leading, *lead, rank]."""
    noise = jax.random.normal(key, (*leading, *belief.factors.shape), belief.factors.dtype)
    inverse = with_rank(belief.now.inverse, noise.ndim + 1)
    return with_rank(belief.factors, noise.ndim) + contract("...lk,...l->...k", inverse, noise)


def sample(
    params: LowRankParams, state: SetStatistics, key: PRNGKey, num_samples: int
) -> Float[Array, "num *lead dim"]:
    """Independent draws of the next element given those seen."""
    belief = _belief(params, state)
    factor_key, element_key = jax.random.split(key)
    factors = _sample_factors(belief, factor_key, (num_samples,))
    mean = exchangeable.predictive_mean(state, belief.where)[jnp.newaxis]
    mean = mean + belief.deviation[jnp.newaxis] * _reach(params, belief, factors)
    noise = jax.random.normal(element_key, mean.shape, mean.dtype)
    return mean + jnp.sqrt(belief.where.variance)[jnp.newaxis] * noise


def sample_joint(
    params: LowRankParams, state: SetStatistics, key: PRNGKey, num_samples: int
) -> Float[Array, "num *lead dim"]:
    """Draws of the next `num_samples` elements together: one location theta per set, then elements around it.

    The law is that of drawing one element after the other and absorbing each.
    """
    belief = _belief(params, state)
    factor_key, location_key, element_key = jax.random.split(key, 3)
    mean = exchangeable.predictive_mean(state, belief.where)
    mean = mean + belief.deviation * _reach(params, belief, _sample_factors(belief, factor_key, ()))
    location_noise = jax.random.normal(location_key, mean.shape, mean.dtype)
    theta = mean + belief.deviation * exchangeable.deviation_of(belief.where.posterior_ratio) * location_noise
    noise = jax.random.normal(element_key, (num_samples, *mean.shape), mean.dtype)
    return theta[jnp.newaxis] + belief.deviation[jnp.newaxis] * noise


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

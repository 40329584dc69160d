"""Parameters of the low-rank process (`low_rank_process`): moments, trainable form, and a fit to data."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Num

from exflow.core import exchangeable, statistics
from exflow.core.exchangeable import Moment
from exflow.core.low_rank_fit import fit_loading

MAX_LOADING = 100.0  # beyond it float32 Cholesky factors may fail; the square is the largest fitted rho / (v - rho)


class LowRankParams(NamedTuple):
    """Parameters in the form that needs no subtraction; build them with `from_moments`."""

    mean: Float[Array, " dim"]  # mu
    within_variance: Float[Array, " dim"]  # v - rho > 0: variance of an element around the location of its set
    covariance_ratio: Float[Array, " dim"]  # rho / (v - rho) >= 0, of what a dimension shares with no other
    loading: Float[Array, "dim rank"]  # A / sqrt(v - rho)

    @property
    def factor(self) -> Float[Array, "dim rank"]:
        """A."""
        return jnp.sqrt(self.within_variance)[:, jnp.newaxis] * self.loading

    @property
    def covariance(self) -> Float[Array, " dim"]:
        """Covariance of two elements per dimension, factors included: rho + sum_k A_dk^2."""
        return self.within_variance * (self.covariance_ratio + (self.loading**2).sum(axis=-1))

    @property
    def variance(self) -> Float[Array, " dim"]:
        """Variance of an element per dimension, factors included: v + sum_k A_dk^2."""
        return self.within_variance + self.covariance

    @property
    def correlation(self) -> Float[Array, " dim"]:
        """Correlation of two elements per dimension, factors included."""
        return self.covariance / self.variance


def from_moments(
    mean: Moment,
    variance: Moment,
    covariance: Moment,
    factor: Num[Array | np.ndarray, "dim rank"],
) -> LowRankParams:
    """Parameters from mu, v, rho and A.

    Args:
      mean: mu, any real values.
      variance: v, variance of an element without what the factors add to it; above `covariance`.
      covariance: rho, covariance of two elements without what the factors add to it; at least 0.
      factor: A, any real values; the rank may be 0.

    Returns:
      The parameters.

    Raises:
      ValueError: Shapes differ, or not 0 <= covariance < variance.
    """
    mean, within, ratio = exchangeable.location_from_moments(mean, variance, covariance)
    factor = jnp.asarray(factor)
    if factor.ndim != 2 or factor.shape[0] != mean.shape[0]:
        raise ValueError(f"factor: expected [{mean.shape[0]}, rank], got {factor.shape}. One row per dimension.")
    return LowRankParams(mean, within, ratio, factor / jnp.sqrt(within)[:, jnp.newaxis])


def init_raw(
    dim: int, variance: float = 1.0, correlation: float = 0.1, rank: int = 8, mean: float = 0.0
) -> dict[str, Array]:
    """Trainable parameters of `dim` dimensions with equal moments and a small fixed random loading.

    A loading of 0 would be a stationary point of every objective. The one given adds about 1 % of v - rho along each of
    `rank` random directions.

    Args:
      dim: Number of dimensions.
      variance: v, above 0.
      correlation: rho / v, in (0, 1).
      rank: Number of factors.
      mean: mu.

    Returns:
      {"mean", "raw_variance", "raw_correlation"} of shape `[dim]` and "loading" of shape `[dim, rank]`.
    """
    moments = [jnp.full(dim, value, float) for value in (mean, variance, variance * correlation)]
    return unconstrain(LowRankParams(*exchangeable.location_from_moments(*moments), _small_loading(dim, rank)))


def _small_loading(dim: int, rank: int) -> Float[Array, "dim rank"]:
    return 0.1 / dim**0.5 * jax.random.normal(jax.random.key(0), (dim, rank), float)


def constrain(raw: dict[str, Array]) -> LowRankParams:
    """Raw (trainable) parameters -> parameters; see `init_raw`."""
    loading = jnp.clip(raw["loading"], -MAX_LOADING, MAX_LOADING)
    return LowRankParams(*exchangeable.constrain_location(raw), loading)


def unconstrain(params: LowRankParams) -> dict[str, Array]:
    """Parameters -> raw (trainable) parameters, the inverse of `constrain`."""
    return exchangeable.unconstrain_location(params) | {"loading": params.loading}


def fit(
    z_set: Float[Array, "batch set dim"],
    learn_mean: bool = True,
    rank: int = 8,
    min_correlation: float = 1e-4,
    min_variance: float = 1e-6,
    mask: Bool[Array, "batch set"] | None = None,
) -> LowRankParams:
    """Moments per dimension as in `gaussian_process.fit`, of which leading directions are moved into factors.

    The factors come from the principal components of the standardised set means (see `fit_loading`), an approximation:
    the likelihood has no closed-form optimum. Mean, variance and covariance per dimension are those of
    `gaussian_process.fit`.

    Args:
      z_set: Sets, of equal size unless masked; at least two elements per set to learn the covariance.
      learn_mean: Estimate mu; otherwise it is 0.
      rank: Number of factors.
      min_correlation: Least correlation, in [0, 1); above 0 so that `unconstrain` gives a trainable value.
      min_variance: Least variance.
      mask: Elements where it is False do not count and may hold anything.

    Returns:
      The parameters.
    """
    mean, within, ratio = exchangeable.fit_location(z_set, learn_mean, min_correlation, min_variance, mask)
    start = _small_loading(z_set.shape[-1], rank).astype(ratio.dtype)
    sets = statistics.of_set(z_set, mask, with_scatter=False)
    deviation = (sets.mean.value - mean[jnp.newaxis]) / jnp.sqrt(within)[jnp.newaxis]
    loading, ratio = fit_loading(deviation, sets.count, ratio, start)
    return LowRankParams(mean, within, ratio, loading)

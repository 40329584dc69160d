"""Gaussian vectors whose signs are known: Gibbs sampling of a ~ N(0, C) given sign(a + t) = s, many at once."""

import numpy as np
from jaxtyping import Bool, Float64
from scipy.special import log_ndtr, ndtri_exp

from exflow.core.binary.codes import as_signs

LEAST = 0.02  # lowest eigenvalue of a covariance with which the chain moves; `positive_definite.shrinkage` gives it
Signs = Bool[np.ndarray, "num dim"]
Vectors = Float64[np.ndarray, "num dim"]
Covariance = Float64[np.ndarray, "dim dim"]
Thresholds = Float64[np.ndarray, " dim"]


def sample_orthant(
    covariance: Covariance, thresholds: Thresholds, signs: Signs, seed: int, num_sweeps: int = 60
) -> Vectors:
    """One draw of a for every row of signs, after `num_sweeps` sweeps over its entries.

    An entry given all others is a normal variable with variance 1 / K_ii, K = C^-1, and mean -sum_j K_ij a_j / K_ii,
    truncated to its side of -t_i; it is drawn by the inverse of its distribution function, in logarithms, so that far
    tails are exact. Every row starts at one standard deviation inside its orthant.

    Args:
      covariance: C, positive definite; the nearer to singular, the slower the chain moves.
      thresholds: t.
      signs: s; True is +1 and asks for a + t >= 0.
      seed: Of the draws.
      num_sweeps: At least 1.

    Returns:
      Draws with exactly these signs.

    Source: Geweke 1991, "Efficient simulation from the multivariate normal and Student-t distributions subject to
      linear constraints".
    """
    rng = np.random.default_rng(seed)
    precision = np.linalg.inv(covariance)
    spread = 1.0 / np.sqrt(np.diagonal(precision))
    weights = precision * (spread**2)[:, np.newaxis]  # of others in the mean of an entry, negated; 1 of itself
    side = as_signs(signs).T
    a = side * np.sqrt(np.diagonal(covariance))[:, np.newaxis] - thresholds[:, np.newaxis]  # [dim, num]
    for _ in range(num_sweeps):
        log_uniform = -rng.standard_exponential(a.shape)
        for i in range(len(a)):
            mean = a[i] - weights[i] @ a
            # side * (a_i - mean) / spread is standard normal above `bound`
            bound = -side[i] * (thresholds[i] + mean) / spread[i]
            standard = -ndtri_exp(log_uniform[i] + log_ndtr(-bound))
            a[i] = mean + side[i] * spread[i] * np.maximum(standard, bound)
    inside = (a + thresholds[:, np.newaxis] >= 0) == signs.T
    return np.where(inside, a, _just_inside(side, thresholds[:, np.newaxis])).T


def complete_signs(
    covariance: Covariance,
    thresholds: Thresholds,
    signs: Signs,
    known: Bool[np.ndarray, " dim"],
    seed: int,
    num_sweeps: int = 60,
) -> Signs:
    """Signs of a + t with those that are not known drawn given those that are.

    The known entries of a are drawn from their own truncated Gaussian; the others, of which it need know nothing,
    given these at once.

    Args:
      covariance: As of `sample_orthant`.
      thresholds: The same.
      signs: Of every row; those that are not known may be anything.
      known: Which are.
      seed: Of the draws.
      num_sweeps: As of `sample_orthant`.
    """
    hidden = ~known
    found = signs.copy()
    noise = np.random.default_rng([seed, 1]).standard_normal((len(signs), hidden.sum()))
    own, mixed = covariance[np.ix_(hidden, hidden)], covariance[np.ix_(known, hidden)]
    mean = 0.0
    if known.any():
        within = covariance[np.ix_(known, known)]
        a = sample_orthant(within, thresholds[known], signs[:, known], seed, num_sweeps)
        regression = np.linalg.solve(within, mixed)
        mean, own = a @ regression, own - mixed.T @ regression
    found[:, hidden] = mean + noise @ np.linalg.cholesky(own).T + thresholds[hidden] >= 0
    return found


def _just_inside(side: Float64[np.ndarray, "dim num"], thresholds: Float64[np.ndarray, "dim 1"]) -> np.ndarray:
    """Next to the boundary, where rounding put a draw beyond it."""
    return np.nextafter(-thresholds, side * np.inf)

"""Binary data of known kinds, and probabilities of all codes by brute force."""

import itertools

import numpy as np
from scipy import stats


def clustered(num, num_bits, num_clusters, seed=0):
    """Draws of a mixture of product Bernoullis, whose Gaussian correlations are usually indefinite."""
    rng = np.random.default_rng(seed)
    centers = rng.beta(0.5, 0.5, (num_clusters, num_bits))
    return rng.random((num, num_bits)) < centers[rng.integers(num_clusters, size=num)]


def weakly_dependent(num, num_bits, seed=0):
    """Thresholded Gaussians with one factor: their correlations are far from singular."""
    rng = np.random.default_rng(seed)
    loading = rng.uniform(-0.8, 0.8, num_bits)
    gaussian = rng.normal(size=(num, 1)) * loading + rng.normal(size=(num, num_bits)) * np.sqrt(1 - loading**2)
    return gaussian + rng.uniform(-0.7, 0.7, num_bits) > 0


def all_codes(num_bits):
    """[2^bits, bits]."""
    return np.array(list(itertools.product([False, True], repeat=num_bits)))


def index_of(codes):
    """Where codes stand in `all_codes`."""
    return codes @ (1 << np.arange(codes.shape[1])[::-1])


def moments_by_enumeration(probability, codes):
    """Mean and second moments of signs."""
    signs = np.where(codes, 1.0, -1.0)
    return probability @ signs, (signs.T * probability) @ signs


def orthant_probabilities(correlation, thresholds, codes):
    """P(sign(a + t) = code), a ~ N(0, correlation), by scipy's integration of the rectangle, to about 1e-5."""
    found = []
    for code in codes:
        side = np.where(code, 1.0, -1.0)
        law = stats.multivariate_normal(
            np.zeros(len(side)), correlation * np.outer(side, side), allow_singular=True, seed=0, abseps=1e-5
        )
        found.append(law.cdf(side * thresholds))
    return np.array(found)


def probabilities(model, fitted, num_bits):
    """Of all codes: by integration for signs of Gaussians, otherwise by the model's own densities."""
    codes = all_codes(num_bits)
    if model.log_prob is not None:
        return np.exp(model.log_prob(fitted, codes))
    covariance = fitted.factor @ fitted.factor.T
    scale = np.sqrt(np.diagonal(covariance))
    if model.kind == "threshold":
        return orthant_probabilities(covariance / np.outer(scale, scale), fitted.thresholds / scale, codes)
    last = np.ones((len(codes), 1), bool)  # the opposite signs of all make the same code
    signs = np.concatenate([codes, last], axis=1)
    return 2.0 * orthant_probabilities(covariance / np.outer(scale, scale), np.zeros(num_bits + 1), signs)

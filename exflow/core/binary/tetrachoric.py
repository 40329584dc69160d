"""Gaussian correlations of thresholded bits: x_i = sign(a_i + t_i) has given means and pair moments.

The means fix the thresholds, t_i = Phi^-1((1 + m_i) / 2), and every pair moment a correlation, the tetrachoric one.
"""

import numpy as np
from jaxtyping import Float64
from scipy.special import ndtr, ndtri

from exflow.core.binary import bivariate_normal
from exflow.core.binary.moments import BinaryMoments

FAR = 40.0  # threshold of a bit that is always the same: Phi(40) = 1, Phi(-40) = 0
PAIRS = 1 << 17  # solved at once: some ten MB
TOLERANCE = 1e-14  # of probabilities
MAX_STEPS = 100  # each halves the bracket at least every second time
Pairs = Float64[np.ndarray, " pairs"]


def thresholds_of(mean: Float64[np.ndarray, " bits"]) -> Float64[np.ndarray, " bits"]:
    """Thresholds of bits with these means; those of bits that never change are 40 or -40."""
    return np.clip(ndtri((1.0 + mean) / 2.0), -FAR, FAR)


def tetrachoric(moments: BinaryMoments) -> Float64[np.ndarray, "bits bits"]:
    """Correlations of the Gaussians behind all pairs of bits; 0 with bits that never change.

    The matrix is often not positive semidefinite. Pair moments that no bits of these means can have are taken as the
    nearest that some have, and give a correlation of 1 or -1.

    Args:
      moments: Of any bits; estimates are fine.
    """
    num_bits = len(moments.mean)
    thresholds = thresholds_of(moments.mean)
    both = (1.0 + moments.mean[:, np.newaxis] + moments.mean + moments.second) / 4.0
    correlation = np.zeros((num_bits, num_bits))
    rows, columns = np.triu_indices(num_bits, 1)
    for start in range(0, len(rows), PAIRS):
        i, j = rows[start : start + PAIRS], columns[start : start + PAIRS]
        correlation[i, j] = solve_pairs(thresholds[i], thresholds[j], both[i, j])
    return correlation + correlation.T + np.eye(num_bits)


def pair_moments(
    thresholds: Float64[np.ndarray, " bits"], correlation: Float64[np.ndarray, "bits bits"]
) -> Float64[np.ndarray, "bits bits"]:
    """E[x x^T] of thresholded Gaussians, the inverse of `tetrachoric`."""
    num_bits = len(thresholds)
    ones = ndtr(thresholds)
    second = np.zeros((num_bits, num_bits))
    rows, columns = np.triu_indices(num_bits, 1)
    for start in range(0, len(rows), PAIRS):
        i, j = rows[start : start + PAIRS], columns[start : start + PAIRS]
        both = bivariate_normal.cdf(thresholds[i], thresholds[j], np.clip(correlation[i, j], -1.0, 1.0))
        second[i, j] = 4.0 * both - 2.0 * (ones[i] + ones[j]) + 1.0
    return second + second.T + np.eye(num_bits)


def solve_pairs(h: Pairs, k: Pairs, both: Pairs) -> Pairs:
    """Correlations r with P(a <= h, b <= k) = `both`, by Newton's method in arcsin r, safeguarded by bisection.

    The probability rises with r from max(Phi(h) + Phi(k) - 1, 0) to min(Phi(h), Phi(k)); where it is flat to 1e-14, any
    of the correlations that give it is returned: 0 where all do, as with a bit that never changes.
    """
    both = np.clip(both, np.maximum(ndtr(h) - ndtr(-k), 0.0), np.minimum(ndtr(h), ndtr(k)))
    angle = np.zeros_like(h)
    low, high = np.full_like(h, -np.pi / 2), np.full_like(h, np.pi / 2)
    active = np.arange(len(h))
    last_step = np.full_like(h, np.pi)
    for _ in range(MAX_STEPS):
        if not len(active):
            break
        here, at_h, at_k = angle[active], h[active], k[active]
        error = bivariate_normal.cdf(at_h, at_k, np.sin(here)) - both[active]
        open_pairs = np.abs(error) > TOLERANCE
        active, here, error = active[open_pairs], here[open_pairs], error[open_pairs]
        low[active] = np.where(error < 0, here, low[active])
        high[active] = np.where(error > 0, here, high[active])
        slope = bivariate_normal.slope(at_h[open_pairs], at_k[open_pairs], here)
        middle = (low[active] + high[active]) / 2.0
        with np.errstate(over="ignore", divide="ignore"):
            newton = here - error / slope
        # Newton's step where it stays inside and is less than half of the one before
        inside = (newton > low[active]) & (newton < high[active]) & (np.abs(newton - here) < last_step[active] / 2.0)
        found = np.where(inside, newton, middle)
        last_step[active] = np.abs(found - here)
        angle[active] = found
        active = active[found != here]
    return np.sin(angle)

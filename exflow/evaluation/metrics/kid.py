"""Kernel distance between features of two sets of images: an unbiased squared maximum mean discrepancy.

The kernel is (x.y / dim + 1)^3; equal distributions give 0 on average whatever the number of images, so that single
estimates may be negative. Source: Binkowski et al. 2018, arXiv:1801.01401, section 4.
"""

from typing import NamedTuple

import numpy as np

from exflow.evaluation.metrics.distances import Features, check_features

SUBSETS, SUBSET_SIZE = 100, 1000  # of the literature


class KernelDistance(NamedTuple):
    """Means over subsets, of the squared discrepancy; not scaled."""

    mean: float
    deviation: float  # between subsets, over their number
    standard_error: float  # of the mean
    num_subsets: int
    subset_size: int


def usual_subset_size(num_images: int) -> int:
    """1,000 images as in the literature; of a set of fewer half of them, so that its subsets differ."""
    return SUBSET_SIZE if num_images >= SUBSET_SIZE else num_images // 2


def squared_discrepancy(x: Features, y: Features) -> float:
    """Unbiased: pairs of an image with itself are left out."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)

    def within(z: np.ndarray) -> float:
        kernel = _kernel(z, z)
        return (kernel.sum() - np.trace(kernel)) / (len(z) * (len(z) - 1))

    return float(within(x) + within(y) - 2 * _kernel(x, y).mean())


def kid(
    x: Features,
    y: Features,
    num_subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = 0,
) -> KernelDistance:
    """Mean over pairs of random subsets, each drawn without replacement.

    Args:
      x: Features of one set.
      y: Features of the other.
      num_subsets: How many pairs.
      subset_size: Images of a subset.
      seed: Of the draws.

    Returns:
      The mean, and the deviation between subsets that the literature gives with it. Subsets share images: of a set of n
      at most n / subset_size are independent, and the standard error counts no more.

    Raises:
      ValueError: A set has fewer images than a subset, or a subset fewer than two.
    """
    check_features(x=x, y=y)
    least = min(len(x), len(y))
    if not 2 <= subset_size <= least:
        raise ValueError(
            f"subset_size: expected 2 to {least}, the images of the smaller set, got {subset_size}. Take more images "
            "or smaller subsets; the mean does not depend on their size."
        )
    rng = np.random.default_rng(seed)
    values = [
        squared_discrepancy(*(features[rng.choice(len(features), subset_size, replace=False)] for features in (x, y)))
        for _ in range(num_subsets)
    ]
    deviation = float(np.std(values))
    independent = min(num_subsets, least / subset_size)
    return KernelDistance(float(np.mean(values)), deviation, deviation / np.sqrt(independent), num_subsets, subset_size)


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3

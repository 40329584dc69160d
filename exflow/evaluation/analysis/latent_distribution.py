"""Whether latents follow the prior that training gives them: exact marginal densities and their distance from data.

The first element of a set has, in every latent dimension, the marginal of the process: Student-t with nu degrees of
freedom, mean mu and variance v, or Gaussian. The original draws a Gaussian in place of the Student-t above nu = 50.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from exflow.core.process import Marginals


def density(
    process: Marginals, dimensions: Int[np.ndarray, " chosen"], points: Float[np.ndarray, "points chosen"]
) -> Float[np.ndarray, "points chosen"]:
    """Marginal density of some latent dimensions."""
    return np.sum([weight * part.pdf(points) for weight, part in _components(process, dimensions)], axis=0)


def distribution_function(
    process: Marginals, dimensions: Int[np.ndarray, " chosen"], points: Float[np.ndarray, "points chosen"]
) -> Float[np.ndarray, "points chosen"]:
    """Marginal probability of values up to `points`, of some latent dimensions."""
    return np.sum([weight * part.cdf(points) for weight, part in _components(process, dimensions)], axis=0)


def _components(process: Marginals, dimensions: np.ndarray) -> list[tuple[Any, Any]]:
    """Weights and SciPy distributions of shape [chosen]: a Gaussian, a Student-t, or both."""
    mean, variance = process.mean[dimensions], process.variance[dimensions]
    gaussian = stats.norm(mean, np.sqrt(variance))
    if process.degrees_of_freedom is None:
        return [(1.0, gaussian)]
    freedom = process.degrees_of_freedom[dimensions]
    student_t = stats.t(freedom, mean, np.sqrt(variance * (freedom - 2) / freedom))
    if process.gaussian_weight is None:
        return [(1.0, student_t)]
    weight = process.gaussian_weight[dimensions]
    return [(weight, gaussian), (1.0 - weight, student_t)]


def kolmogorov_smirnov(process: Marginals, z: Float[np.ndarray, "images dim"]) -> Float[np.ndarray, " dim"]:
    """Largest distance between the distribution function of the prior and that of the latents, per dimension."""
    size, ordered = len(z), np.sort(np.asarray(z, np.float64), axis=0)
    below = distribution_function(process, np.arange(z.shape[1]), ordered)
    step = np.arange(size + 1)[:, np.newaxis] / size
    return np.maximum(step[1:] - below, below - step[:-1]).max(axis=0)


def critical_distance(num_images: int, level: float = 0.05) -> float:
    """Distance that independent draws from the prior itself exceed with probability `level` (asymptotically)."""
    return float(stats.kstwobign.isf(level) / math.sqrt(num_images))


def shown_dimensions(
    process: Marginals, distance: Float[np.ndarray, " dim"], number: int
) -> Int[np.ndarray, " chosen"]:
    """Dimensions worth a look: those of highest correlation, of worst fit, and of median fit, a third each."""
    by_distance, by_correlation = np.argsort(distance), np.argsort(-process.correlation)
    middle = by_distance[np.argsort(np.abs(np.arange(len(distance)) - len(distance) // 2), kind="stable")]
    chosen: list[int] = []
    for index, order in enumerate((by_correlation, by_distance[::-1], middle)):
        wanted = min(-(-number * (index + 1) // 3), len(distance))
        chosen += [int(at) for at in order if at not in chosen][: max(wanted - len(chosen), 0)]
    return np.asarray(chosen)

"""Image sets, elements and dense Gaussian oracles for the tests of evaluation and of the Python API."""

import numpy as np
from scipy.stats import multivariate_normal

from exflow.data.registry import ImageSets


def image_sets(count, image_shape=(2, 2, 1), seed=0, spread=12):
    """Classes of `count[c]` noisy copies of a random picture; padding of `index` points at the class's first image."""
    rng = np.random.default_rng(seed)
    count = np.asarray(count, np.int32)
    base = rng.integers(spread, 255 - spread, (len(count), *image_shape))
    labels = np.repeat(np.arange(len(count)), count)
    images = base[labels] + rng.integers(-spread, spread + 1, (len(labels), *image_shape))
    start = np.cumsum(count) - count
    position = np.arange(count.max())
    index = start[:, None] + np.where(position < count[:, None], position, 0)
    return ImageSets(
        images.astype(np.uint8),
        index.astype(np.int32),
        count,
        np.arange(len(count), dtype=np.int32) + 100,
        "toy/test",
    )


def joint_log_prob(z_set, params):
    """log p(z_1, ..., z_n) of the toy process by the dense covariance matrix, float64; z_set [n, dim]."""
    z_set = np.asarray(z_set, np.float64)
    process = {name: np.asarray(value, np.float64) for name, value in params["process"].items()}
    size, total = len(z_set), 0.0
    for dim in range(z_set.shape[1]):
        covariance = np.full((size, size), process["covariance"][dim])
        np.fill_diagonal(covariance, process["variance"][dim])
        mean = np.full(size, process["mean"][dim])
        total += multivariate_normal(mean, covariance).logpdf(z_set[:, dim]) if size else 0.0
    return total


def predictive_log_prob(z_set, z, params):
    """log p(z | z_set) by a ratio of joints, without the log-determinant of the flow."""
    together = np.concatenate([np.asarray(z_set), np.asarray(z)[None]])
    return joint_log_prob(together, params) - (joint_log_prob(z_set, params) if len(z_set) else 0.0)

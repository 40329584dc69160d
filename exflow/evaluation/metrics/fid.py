"""Frechet distance between Gaussians that are fitted to features of two sets of images.

|m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr (S1 S2)^(1/2), with means m and unbiased covariances S. Source: Heusel et al. 2017,
arXiv:1706.08500, equation 6. It is biased upwards, more so for few images (Binkowski et al. 2018, arXiv:1801.01401):
compare numbers of equally many images only, and with the distance of real images to real images.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from exflow.evaluation.metrics.distances import Features, check_features
from exflow.evaluation.scoring.likelihood import Estimate


class FeatureMoments(NamedTuple):
    """Number, mean and sum of squared deviations of features, float64; those of disjoint sets can be merged."""

    count: int
    mean: Float[np.ndarray, " dim"]
    scatter: Float[np.ndarray, "dim dim"]  # sum over images of (x - mean) (x - mean)^T

    @property
    def covariance(self) -> Float[np.ndarray, "dim dim"]:
        """Unbiased.

        Raises:
          ValueError: Of less than two images there is none.
        """
        if self.count < 2:
            raise ValueError(f"features: expected at least 2 images for a covariance, got {self.count}. Take more.")
        return self.scatter / (self.count - 1)


def moments(features: Features) -> FeatureMoments:
    """Of at least one image."""
    x = np.asarray(features, np.float64)
    mean = x.mean(axis=0)
    return FeatureMoments(len(x), mean, (x - mean).T @ (x - mean))


def merged(a: FeatureMoments, b: FeatureMoments) -> FeatureMoments:
    """Moments of the union of disjoint sets. Source: Chan, Golub & LeVeque 1983."""
    count, shift = a.count + b.count, b.mean - a.mean
    scatter = a.scatter + b.scatter + np.outer(shift, shift) * (a.count * b.count / count)
    return FeatureMoments(count, a.mean + shift * (b.count / count), scatter)


def streamed_moments(batches: Iterable[Features]) -> FeatureMoments:
    """Moments of features that come in batches, of which one is held at a time.

    Raises:
      ValueError: There is no batch.
    """
    total = None
    for batch in batches:
        if len(batch):
            total = moments(batch) if total is None else merged(total, moments(batch))
    if total is None:
        raise ValueError("features: expected at least one batch, got none. Give images.")
    return total


def frechet_distance(a: FeatureMoments, b: FeatureMoments) -> float:
    """Squared Frechet distance of the Gaussians with these moments; at least 0, whatever is rounded.

    With S = L L^T from symmetric eigendecompositions, tr (S1 S2)^(1/2) is the sum of the singular values of L1^T L2.
    No square root of a product is taken, so that singular covariances (of fewer images than features) need nothing
    added to their diagonals. Eigenvalues below the rounding error of the largest count as 0.
    """
    first, second = _root(a.covariance), _root(b.covariance)
    cross = np.linalg.svd(first.T @ second, compute_uv=False).sum() if min(first.shape[1], second.shape[1]) else 0.0
    spread = np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross
    return float(max(((a.mean - b.mean) ** 2).sum() + spread, 0.0))


def fid(x: Features, y: Features) -> float:
    """Squared Frechet distance of two sets of features, of two images or more each.

    Raises:
      ValueError: They cannot be compared.
    """
    check_features(x=x, y=y)
    return frechet_distance(moments(x), moments(y))


def fid_estimate(x: Features, y: Features, num_groups: int = 10) -> Estimate:
    """The distance with its standard error, by leaving out one of `num_groups` groups of images at a time.

    The groups of a set are its images n, n + num_groups, ... The two sets are independent, so their variances add up.
    The error tells how the number moves with other images, not its bias.

    Raises:
      ValueError: A set has fewer than 2 num_groups images, or num_groups is less than 2.
    """
    check_features(x=x, y=y)
    if num_groups < 2 or min(len(x), len(y)) < 2 * num_groups:
        raise ValueError(
            f"num_groups: expected 2 to {min(len(x), len(y)) // 2} of {len(x)} and {len(y)} images, got {num_groups}."
        )
    sets = [[moments(features[n::num_groups]) for n in range(num_groups)] for features in (x, y)]
    (whole_x, without_x), (whole_y, without_y) = (_whole_and_without(groups) for groups in sets)
    left_out = [
        [frechet_distance(part, whole_y) for part in without_x],
        [frechet_distance(whole_x, part) for part in without_y],
    ]
    variance = (num_groups - 1) * np.var(left_out, axis=1).sum()
    return Estimate(frechet_distance(whole_x, whole_y), float(np.sqrt(variance)))


def _root(covariance: Float[np.ndarray, "dim dim"]) -> Float[np.ndarray, "dim rank"]:
    """L with L L^T = covariance."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    return vectors[:, kept] * np.sqrt(values[kept])


def _whole_and_without(groups: list[FeatureMoments]) -> tuple[FeatureMoments, list[FeatureMoments]]:
    """Moments of all groups, and of all but each of them."""

    def union(parts: list[FeatureMoments]) -> FeatureMoments:
        total = parts[0]
        for part in parts[1:]:
            total = merged(total, part)
        return total

    return union(groups), [union(groups[:n] + groups[n + 1 :]) for n in range(len(groups))]

"""Precision and recall of distributions: how much of the generated is real, and how much of the real is generated.

Both sets of features are clustered together, and their shares of the clusters compared. Source: Sajjadi et al. 2018,
arXiv:1806.00035, algorithm 1.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from exflow.errors import UserError
from exflow.evaluation.metrics.distances import Features, check_features

CLUSTERS, REPEATS, INITIALIZATIONS = 20, 10, 10
ANGLES = 1001
BETA = 8.0


class PrecisionRecall(NamedTuple):
    """A curve, and the two numbers that sum it up."""

    precision: Float[np.ndarray, " angles"]
    recall: Float[np.ndarray, " angles"]
    f_recall: float  # max F_8, which weights recall
    f_precision: float  # max F_1/8, which weights precision


def curve(
    real: Float[np.ndarray, " cluster"], generated: Float[np.ndarray, " cluster"], num_angles: int = ANGLES
) -> tuple[Float[np.ndarray, " angles"], Float[np.ndarray, " angles"]]:
    """Precision sum_c min(l real_c, generated_c) and recall, that over l, for l the tangents of angles in (0, pi/2).

    Args:
      real: Shares of the clusters; they add up to 1.
      generated: Likewise.
      num_angles: How many.
    """
    slopes = np.tan(np.linspace(1e-10, np.pi / 2 - 1e-10, num_angles))[:, None]
    precision = np.minimum(slopes * real[None], generated[None]).sum(axis=1)
    return np.clip(precision, 0.0, 1.0), np.clip(precision / slopes[:, 0], 0.0, 1.0)


def best_f(precision: Float[np.ndarray, " angles"], recall: Float[np.ndarray, " angles"], beta: float) -> float:
    """Maximum over a curve of (1 + b^2) p r / (b^2 p + r), 0 where both are."""
    weighted = beta**2 * precision + recall
    product = (1 + beta**2) * precision * recall
    return float(np.max(np.where(weighted > 0, product / np.where(weighted > 0, weighted, 1.0), 0.0)))


def precision_recall(
    real: Features, generated: Features, clusters: int = CLUSTERS, repeats: int = REPEATS, seed: int = 0
) -> PrecisionRecall:
    """The curve, a mean over clusterings by mini-batch k-means.

    Args:
      real: Features of real images.
      generated: Features of as many generated ones.
      clusters: Of both together.
      repeats: Clusterings.
      seed: Of the clusterings.

    Raises:
      ValueError: The sets differ in size, which would favour the clusters of the larger one, or have too few images.
      UserError: scikit-learn is not installed.
    """
    check_features(real=real, generated=generated)
    if len(real) != len(generated):
        raise ValueError(
            f"generated: expected {len(real)} images, as many as real ones, got {len(generated)}. Take equally many."
        )
    if 2 * len(real) < clusters:
        raise ValueError(f"clusters: expected at most {2 * len(real)}, the images of both sets, got {clusters}.")
    together, curves = np.concatenate([real, generated]).astype(np.float64), []
    for repeat in range(repeats):
        kmeans = _mini_batch_kmeans(clusters, seed + repeat)
        labels = kmeans.fit(together).labels_
        shares = [
            np.bincount(part, minlength=clusters) / len(real) for part in (labels[: len(real)], labels[len(real) :])
        ]
        curves.append(curve(shares[0], shares[1]))
    precision, recall = np.mean(curves, axis=0)
    return PrecisionRecall(precision, recall, best_f(precision, recall, BETA), best_f(precision, recall, 1 / BETA))


def _mini_batch_kmeans(clusters: int, seed: int) -> Any:
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ImportError as error:
        raise UserError(
            "scikit-learn is not installed, which clusters features for precision and recall of distributions: "
            "`python -m pip install 'exflow[metrics]'`."
        ) from error
    return MiniBatchKMeans(n_clusters=clusters, n_init=INITIALIZATIONS, random_state=seed)  # pyright: ignore

"""Euclidean distances between all rows of two arrays of features, some rows at a time."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

Features = Float[np.ndarray, "_images _dim"]  # sets differ in size; `check_features` compares their dim
CHUNK_BYTES = 2**27  # of a block of distances


def distance_blocks(
    x: Features, y: Features, rows: int | None = None
) -> Iterator[tuple[slice, Float[np.ndarray, "rows others"]]]:
    """Squared distances of some rows of x to all rows of y, until all rows of x have been.

    |x - y|^2 = |x|^2 + |y|^2 - 2 x.y in float64, about the mean of y, which keeps the terms small.

    Args:
      x: Features.
      y: Features.
      rows: Of x at a time; None: as many as CHUNK_BYTES hold.

    Yields:
      Which rows, and their squared distances, at least 0.
    """
    center = np.mean(y, axis=0, dtype=np.float64)
    y = np.asarray(y, np.float64) - center
    of_y, size = (y**2).sum(axis=1), rows or max(1, CHUNK_BYTES // (8 * len(y)))
    for start in range(0, len(x), size):
        some = np.asarray(x[start : start + size], np.float64) - center
        squares = (some**2).sum(axis=1)[:, None] + of_y[None] - 2 * (some @ y.T)
        yield slice(start, start + len(some)), np.maximum(squares, 0.0)


def neighbour_radii(x: Features, k: int, rows: int | None = None) -> Float[np.ndarray, " images"]:
    """Squared distance of every row to its k-th nearest other row.

    Raises:
      ValueError: There are not k others.
    """
    if not 1 <= k < len(x):
        raise ValueError(f"k: expected 1 to {len(x) - 1} neighbours among {len(x)} images, got {k}. Take more images.")
    radii = np.empty(len(x))
    for chunk, squares in distance_blocks(x, x, rows):
        itself = np.arange(chunk.start, chunk.stop)
        squares[np.arange(len(itself)), itself] = np.inf
        radii[chunk] = np.partition(squares, k - 1, axis=1)[:, k - 1]
    return radii


def check_features(**sets: np.ndarray) -> None:
    """Check that sets of features can be compared.

    Raises:
      ValueError: One is not [images, dim], holds numbers that are not finite, or differs from the first in dim.
    """
    (first, like), *_ = sets.items()
    for name, features in sets.items():
        if features.ndim != 2 or features.shape[1:] != like.shape[1:]:
            expected = f"[images, {like.shape[1]}], as {first}" if like.ndim == 2 else "[images, dim]"
            raise ValueError(f"{name}: expected {expected}, got {features.shape}. Take both from one extractor.")
        if not np.isfinite(features).all():
            raise ValueError(f"{name}: expected finite features, got NaN or infinity. Check the images and extractor.")

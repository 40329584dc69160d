"""What an extractor of features is, and images through one, some at a time."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from exflow.evaluation.metrics.distances import Features

BATCH_SIZE = 100  # images


class Extractor(NamedTuple):
    """Features of images."""

    name: str  # names network and weights, and stands in brackets behind every number, such as "28x28-a1b2c3d4"
    extract: Callable[[UInt8[np.ndarray, "images height width channels"]], Any]
    resize: str = "none"  # how images are brought to the size that the network takes


def feature_batches(extractor: Extractor, images: np.ndarray, size: int = BATCH_SIZE) -> Iterator[Features]:
    """Features of all images in their order, some at a time; the last batch may be smaller.

    Args:
      extractor: Of the features.
      images: Pixels 0..255, uint8 [images, height, width, channels].
      size: Images at a time.

    Yields:
      Features of some images.

    Raises:
      TypeError: Images are not uint8.
      ValueError: They have another shape, or the extractor gives no [images, dim].
    """
    if images.dtype != np.uint8:
        raise TypeError(f"images: expected uint8 pixels 0..255, got {images.dtype}. Round and clip them.")
    if images.ndim != 4:
        raise ValueError(f"images: expected [images, height, width, channels], got {images.shape}. Add the axis.")
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        features = np.asarray(extractor.extract(batch))
        if features.ndim != 2 or len(features) != len(batch):
            raise ValueError(
                f"extractor: expected features [{len(batch)}, dim] of {extractor.name}, got {features.shape}. "
                "Correct the function."
            )
        yield features


def features_of(extractor: Extractor, images: np.ndarray, size: int = BATCH_SIZE) -> Features:
    """Features of all images; arguments and errors as of `feature_batches`."""
    return np.concatenate(list(feature_batches(extractor, images, size)))

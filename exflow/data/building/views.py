"""Data sets of views: every class is one object, its images are the object under known angles.

The context of an image is (sin, cos) of its angle, which is what Conditional BRUNO (Korshunova et al. 2020) and other
view-conditioned models condition on. Train, validation and test hold different objects.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, UInt8

from exflow.data.registry import TEST, TRAIN, VALIDATION, LabelledImages
from exflow.errors import UserError

NUM_VIEWS = 36
DEGREES = np.arange(NUM_VIEWS) * 10.0  # angle of every view, unless a data set has its own
SHUFFLE_SEED = 42  # of `split_objects`
DAMAGE = OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error


def angle_context(degrees: Float[np.ndarray, " num_angles"]) -> Float32[np.ndarray, "num_angles 2"]:
    """(sin, cos) of angles in degrees."""
    radians = np.deg2rad(degrees)
    return np.stack([np.sin(radians), np.cos(radians)], axis=1).astype(np.float32)


def label_views(
    views: UInt8[np.ndarray, "num_objects num_views height width channels"],
    degrees: Float[np.ndarray, " num_views"],
    split: UInt8[np.ndarray, " num_objects"],
) -> LabelledImages:
    """Views in the order of their angles as images of one class per object, with (sin, cos) as context."""
    num_objects, num_views = views.shape[:2]
    return LabelledImages(
        images=views.reshape(-1, *views.shape[2:]),
        labels=np.repeat(np.arange(num_objects, dtype=np.int32), num_views),
        split=np.repeat(split, num_views),
        context=np.tile(angle_context(degrees), (num_objects, 1)),
    )


def split_counts(
    name: str, image_size: int, num_train: int, num_validation: int, num_test: int
) -> UInt8[np.ndarray, " num_objects"]:
    """Split of every object where the first `num_train` are for training, the next for validation, then for test.

    Raises:
      UserError: If a split is empty or the images are smaller than 4x4.
    """
    counts = [num_train, num_validation, num_test]
    if min(counts) < 1:
        raise UserError(f"{name}: expected at least one object in every split, got {counts}.")
    check_image_size(name, image_size)
    return np.repeat(np.array([TRAIN, VALIDATION, TEST], np.uint8), counts)


def check_image_size(name: str, image_size: int) -> None:
    """Raise UserError if images would be smaller than 4x4."""
    if image_size < 4:
        raise UserError(f"{name}: expected image_size >= 4, got {image_size}.")


def split_objects(name: str, num_objects: int) -> UInt8[np.ndarray, " num_objects"]:
    """70 % train, 10 % validation, 20 % test of the objects, after a shuffle with a fixed seed.

    Both counts are rounded down and test has the rest. The shuffle is that of `RandomState(42)`, whose stream NumPy
    keeps the same for ever.

    Raises:
      UserError: If there are fewer than 10 objects.
    """
    if num_objects < 10:
        raise UserError(f"{name}: expected at least 10 objects, to have some in every split, got {num_objects}.")
    order = np.random.RandomState(SHUFFLE_SEED).permutation(num_objects)
    num_train, num_validation = num_objects * 7 // 10, num_objects // 10
    split = np.full(num_objects, TEST, np.uint8)
    split[order[:num_train]] = TRAIN
    split[order[num_train : num_train + num_validation]] = VALIDATION
    return split


def read_arrays(path: Path, *names: str) -> list[np.ndarray]:
    """Arrays of an .npz file from outside, without pickle.

    Raises:
      UserError: If the file is damaged or lacks an array; names the file.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        expected = " and ".join(names)
        raise UserError(
            f"{path}: cannot be read ({reason}). Expected an undamaged .npz file with {expected} as plain arrays."
        ) from error

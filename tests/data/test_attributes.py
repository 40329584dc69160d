"""Attributes of images on their way from a builder through the cache to the splits of a data set."""

import numpy as np
import pytest

from exflow.data import datasets, prepared
from exflow.data.labelled import resolve_options
from exflow.data.registry import LabelledImages, register

NAMES = ("Bald", "Smiling")
LABELS = np.arange(30, dtype=np.int32) // 3


def pictures(dtype: type = np.uint8) -> LabelledImages:
    """10 classes of 3 images of 2x2, of which one pixel tells the attributes."""
    images = np.arange(120, dtype=np.uint8).reshape(30, 2, 2, 1)
    attributes = np.stack([images[:, 0, 0, 0], images[:, 0, 1, 0]], axis=1).astype(dtype)
    split = np.repeat(np.array([0, 1, 2], np.uint8), [18, 6, 6])
    return LabelledImages(images, LABELS, split, None, attributes, NAMES)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_attributes_travel_with_their_images(dtype, cache_dir, clean_registry) -> None:
    @register("faces")
    def faces() -> LabelledImages:
        return pictures(dtype)

    for _ in range(2):  # built, then from the cache
        sets = datasets.load("faces", split="standard_trainval")
        assert [part.attributes.shape for part in sets.values()] == [(24, 2), (6, 2), (6, 2)]
        for part in sets.values():
            assert part.attribute_names == NAMES
            assert part.attributes.dtype == dtype
            np.testing.assert_array_equal(part.attributes[:, 1], part.images[:, 0, 1, 0])
    path = prepared.find("faces", resolve_options("faces"))
    with np.load(path, allow_pickle=False) as file:
        assert sorted(file.files) == ["attribute_names", "attributes", "format", "images", "labels", "split"]


def test_files_without_attributes_stay_as_they_were(cache_dir) -> None:
    path = prepared.write("plain", {}, pictures()._replace(attributes=None, attribute_names=()))
    with np.load(path, allow_pickle=False) as file:
        assert sorted(file.files) == ["format", "images", "labels", "split"]
    assert prepared.read(path)[3:] == (None, None, ())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attributes": np.zeros((30, 2))}, r"expected uint8 or finite float32 \[30, 2\] .* got float64"),
        ({"attributes": np.zeros((29, 2), np.uint8)}, r"got uint8 \(29, 2\)"),
        ({"attributes": np.zeros((30, 3), np.uint8)}, r"got uint8 \(30, 3\)"),
        ({"attributes": np.full((30, 2), np.nan, np.float32)}, "finite float32"),
        ({"attributes": None}, "expected 2 of each image, as attribute_names tells, got none"),
        ({"attribute_names": ("Bald", "Bald")}, "expected different names"),
    ],
    ids=["float64", "too few", "too many", "nan", "no values", "equal names"],
)
def test_damaged_attributes_are_refused(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        prepared.check(pictures()._replace(**changes))

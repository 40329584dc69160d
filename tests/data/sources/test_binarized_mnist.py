"""Binarised MNIST: its splits and pixels, and what its lack of labels refuses."""

import numpy as np
import pytest

from exflow.data import datasets, tfds
from exflow.data.pipelines.build import make_pipeline
from exflow.data.pipelines.spec import EpisodeSpec, ImageSpec
from exflow.data.registry import SPLITS
from exflow.errors import UserError
from tests.conftest import need_tfds

SIZES = {"train": 5, "validation": 3, "test": 2}


@pytest.fixture
def sets(cache_dir, monkeypatch):
    """The data set with ten images in place of 70,000; their first pixels count them in base 2."""

    def read(builder, part, channels, label_of):
        assert channels == 1
        first = list(SIZES).index(part) * 4
        numbers = np.arange(first, first + SIZES[part])
        images = np.zeros((len(numbers), 28, 28, 1), np.uint8)
        images[:, 0, :4, 0] = (numbers[:, None] >> np.arange(4)) & 1
        return images, np.array([label_of({}) for _ in numbers])

    monkeypatch.setattr(tfds, "open_builder", lambda *arguments: None)
    monkeypatch.setattr(tfds, "read_images", read)
    return datasets.load("binarized_mnist", image_size=28)


def test_splits_are_those_of_the_source_and_pixels_0_or_255(sets) -> None:
    assert {part: len(sets[part].images) for part in SPLITS} == SIZES
    for place, part in enumerate(SPLITS):
        assert set(np.unique(sets[part].images)) == {0, 255}
        numbers = (sets[part].images[:, 0, :4, 0] // 255) @ (1 << np.arange(4))
        np.testing.assert_array_equal(numbers, place * 4 + np.arange(SIZES[part]))
        np.testing.assert_array_equal(sets[part].count, [SIZES[part]])


def test_images_are_served_and_sets_refused(sets) -> None:
    made = make_pipeline("device", sets["train"], ImageSpec(5), 0)
    batch = made.materialize(made.resident, next(iter(made.batches(0))))
    assert sorted(np.asarray(batch.x_set)[:, 0, 0, 0, 0].tolist()) == [0, 0, 0, 255, 255]  # a whole epoch: 1 and 3
    with pytest.raises(UserError, match="binarized_mnist/train: its images have no labels.*data.batches=images"):
        make_pipeline("device", sets["train"], EpisodeSpec(1, 2), 0)


@pytest.mark.slow
def test_real_images(cache_dir) -> None:
    """Sizes, and the mean of MNIST's grey training values (0.1307), which is the probability of a pixel."""
    need_tfds("binarized_mnist")
    sets = datasets.load("binarized_mnist")
    assert [len(sets[part].images) for part in SPLITS] == [50_000, 10_000, 10_000]
    assert all(set(np.unique(sets[part].images)) == {0, 255} for part in SPLITS)
    np.testing.assert_allclose((sets["train"].images / 255).mean(), 0.1307, atol=5e-4)

"""The Vinyals split, and real Omniglot where TFDS has it."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from exflow.data import datasets
from exflow.data.building.omniglot_splits import split_of_label
from exflow.data.registry import SPLITS, ImageSets

SPLITS_FOLDER = Path(os.environ.get("TFDS_DATA_DIR", "none")).parent / "omniglot_splits"


def test_split_has_the_published_counts() -> None:
    assert np.bincount(split_of_label()).tolist() == [1028, 172, 423]


@pytest.mark.skipif(
    not (SPLITS_FOLDER / "characters.csv").is_file(), reason="no list of characters beside TFDS_DATA_DIR"
)
def test_split_equals_the_lists_of_the_few_shot_literature() -> None:
    with (SPLITS_FOLDER / "characters.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = {"train": "train", "val": "validation", "test": "test"}
    expected = {int(row["label"]): names[row["vinyals"]] for row in rows}
    assert {label: SPLITS[split] for label, split in enumerate(split_of_label())} == expected


@pytest.fixture(scope="session")
def omniglot(omniglot_available) -> dict[str, ImageSets]:
    return datasets.load("omniglot")


@pytest.mark.slow  # reads all of Omniglot
def test_classes_and_images(omniglot) -> None:
    assert [len(omniglot[part].count) for part in SPLITS] == [1028, 172, 423]
    for part in SPLITS:
        sets = omniglot[part]
        assert (sets.count == 20).all()
        assert sets.images.shape == (20 * len(sets.count), 28, 28, 1)
        assert np.unique(sets.index).size == sets.index.size
    every = np.concatenate([omniglot[part].class_ids for part in SPLITS])
    np.testing.assert_array_equal(np.sort(every), np.arange(1623))
    np.testing.assert_array_equal(omniglot["test"].class_ids, np.arange(1200, 1623))


@pytest.mark.slow  # reads all of Omniglot
def test_ink_is_bright(omniglot) -> None:
    images = omniglot["test"].images
    assert 0.05 < images.mean() / 255 < 0.12
    assert (images[:, 0, 0] == 0).mean() > 0.9


@pytest.mark.slow  # reads all of Omniglot
def test_drawings_of_a_class_are_closer_than_others(omniglot) -> None:
    images = omniglot["test"].images[omniglot["test"].index].reshape(423, 20, -1).astype(np.float32)
    within = ((images[:, :-1] - images[:, 1:]) ** 2).mean()
    between = ((images[:-1] - images[1:]) ** 2).mean()
    assert within < 0.95 * between


@pytest.mark.slow  # reads all of Omniglot
def test_trainval_has_the_1200_classes_of_the_paper(omniglot) -> None:
    sets = datasets.load("omniglot", split="vinyals_trainval")
    assert len(sets["train"].count) == 1200
    assert set(sets["validation"].class_ids) < set(sets["train"].class_ids)
    assert not set(sets["test"].class_ids) & set(sets["train"].class_ids)

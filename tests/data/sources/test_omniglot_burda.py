"""Burda's Omniglot: orientation, members of the splits, labels, and files that are missing or too small."""

import numpy as np
import pytest
from scipy.io import savemat

from exflow.data import datasets, registry
from exflow.data.registry import SPLITS, LabelledImages
from exflow.errors import UserError

NUM_DATA, NUM_TEST = 1400, 30


@pytest.fixture(scope="module")
def chardata(tmp_path_factory):
    """A file of the form of chardata.mat with 1,400 + 30 drawings that tell their number, and its path."""
    numbers = np.arange(NUM_DATA + NUM_TEST)
    pictures = np.zeros((len(numbers), 28, 28))
    pictures[:, 2, 5], pictures[:, 3, 5], pictures[:, 20, 1] = numbers % 256 / 255, numbers // 256 / 255, 1.0
    columns = pictures.reshape(-1, 784)[
        :, np.arange(784).reshape(28, 28).T.ravel()
    ].T  # one a column, in MATLAB's order
    path, arrays = tmp_path_factory.mktemp("burda") / "chardata.mat", {}
    for prefix, rows in (("", slice(NUM_DATA)), ("test", slice(NUM_DATA, None))):
        arrays |= {f"{prefix}data": columns[:, rows], f"{prefix}target": np.eye(50)[:, numbers[rows] % 50]}
        arrays |= {f"{prefix}targetchar": (numbers[rows] % 100 // 50 + 1)[None]}
    savemat(path, arrays)
    return path, arrays


def test_splits_are_those_of_the_authors(chardata) -> None:
    sets = datasets.load("omniglot_burda", path=str(chardata[0]), image_size=28)
    found = {}
    for part in SPLITS:
        images = sets[part].images.astype(int)
        assert (images[:, 20, 1] == 255).all()
        assert not images[:, 1, 20].any()
        found[part] = images[:, 2, 5, 0] + 256 * images[:, 3, 5, 0]
        classes = np.repeat(sets[part].class_ids, sets[part].count)  # 50 alphabets of 2 characters, numbered by both
        rows = np.concatenate([row[:count] for row, count in zip(sets[part].index, sets[part].count, strict=True)])
        np.testing.assert_array_equal(classes, found[part][rows] % 50 * 2 + found[part][rows] % 100 // 50)
    shuffled = np.arange(NUM_DATA)[np.random.RandomState(123).permutation(NUM_DATA)]
    np.testing.assert_array_equal(found["train"], np.sort(shuffled[:-1345]))
    np.testing.assert_array_equal(found["validation"], np.sort(shuffled[-1345:]))
    np.testing.assert_array_equal(found["test"], np.arange(NUM_DATA, NUM_DATA + NUM_TEST))


def test_files_are_named_by_option_or_environment(chardata, tmp_path, monkeypatch) -> None:
    path, arrays = chardata
    monkeypatch.setenv("EXFLOW_CHARDATA", str(path))
    assert len(datasets.load("omniglot_burda")["test"].images) == NUM_TEST
    monkeypatch.delenv("EXFLOW_CHARDATA")
    where = "chardata.mat of GitHub yburda/iwae .*source=tfds.*data.dataset=omniglot with data.resize=area"
    with pytest.raises(UserError, match=f"^omniglot_burda: EXFLOW_CHARDATA is not set. Set it to the file {where}"):
        datasets.load("omniglot_burda")
    with pytest.raises(UserError, match=f"^omniglot_burda: there is no file /absent. Set path to the file {where}"):
        datasets.load("omniglot_burda", path="/absent")
    savemat(tmp_path / "few.mat", {name: array[:, :20] for name, array in arrays.items()})
    with pytest.raises(UserError, match="expected more than 1345 drawings in data .* got 20 and 20. Use the complete"):
        datasets.load("omniglot_burda", path=str(tmp_path / "few.mat"))


def test_drawings_of_tfds_stand_in_with_the_same_split(clean_registry) -> None:
    """15 drawings of every character are not test; 1,345 of these are validation."""
    labels = np.repeat(np.arange(100, dtype=np.int32), 20)
    images = np.zeros((2000, 28, 28, 1), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = labels, np.tile(np.arange(20), 100)

    @registry.register("omniglot", cache=False)
    def build(image_size: int = 28, resize: str = "bilinear") -> LabelledImages:
        assert (image_size, resize) == (28, "area")
        return LabelledImages(images, labels, np.zeros(2000, np.uint8))

    sets = datasets.load("omniglot_burda", source="tfds")
    assert [len(sets[part].images) for part in SPLITS] == [155, 1345, 500]
    assert (sets["test"].count == 5).all()
    found = np.concatenate([sets[part].images[:, 0, :2, 0] for part in SPLITS])
    assert len(np.unique(found, axis=0)) == 2000
    assert len(np.unique(sets["test"].images[:, 0, 1, 0])) == 20  # not the same five of every character
    with pytest.raises(UserError, match="omniglot_burda: expected source of 'burda' or 'tfds', got 'mat'"):
        datasets.load("omniglot_burda", source="mat")

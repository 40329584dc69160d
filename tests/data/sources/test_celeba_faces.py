"""CelebA as single pictures from a folder like the real one: official splits, attributes, and what a user is told."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exflow.data import datasets
from exflow.data.registry import SPLITS
from exflow.data.sources import celeba, celeba_faces
from exflow.errors import UserError

PARTS = np.array([0, 0, 1, 0, 2, 2, 0])
SIGNS = np.array([[1, -1], [-1, -1], [1, 1], [-1, 1], [1, -1], [1, 1], [-1, -1]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Pictures of 12x15 whose grey value is their number."""
    path = tmp_path_factory.mktemp("faces")
    (path / celeba.PICTURES).mkdir()
    names = [f"{number:06d}.jpg" for number in range(7)]
    for number, name in enumerate(names):
        Image.fromarray(np.full((15, 12, 3), number, np.uint8)).save(path / celeba.PICTURES / name, format="png")
    (path / celeba_faces.PARTITION).write_text(
        "".join(f"{name} {part}\n" for name, part in zip(names, PARTS, strict=True))
    )
    rows = (f"{name} {' '.join(map(str, signs))}\n" for name, signs in zip(names, SIGNS, strict=True))
    (path / celeba_faces.ATTRIBUTES).write_text(f"7\nBald Smiling\n{''.join(rows)}")
    return path


def test_official_splits_and_attributes(folder, cache_dir, monkeypatch) -> None:
    monkeypatch.setenv(celeba.VARIABLE, str(folder))
    sets = datasets.load("celeba_faces", image_size=8, crop=12)
    for number, part in enumerate(SPLITS):
        mine = number == PARTS
        assert sets[part].images.shape == (mine.sum(), 8, 8, 3)
        np.testing.assert_array_equal(sets[part].images[:, 0, 0, 0], np.flatnonzero(mine))
        np.testing.assert_array_equal(sets[part].attributes, SIGNS[mine] > 0)
        assert sets[part].attribute_names == ("Bald", "Smiling")
        assert not sets[part].labelled


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            celeba_faces.PARTITION,
            "000000.jpg\n",
            r"list_eval_partition.txt, line 1: expected 2 words. Correct the",
        ),
        (celeba_faces.PARTITION, "000000.jpg 3\n", r"000000.jpg has no split in list_eval_partition.txt or no attri"),
        (celeba_faces.ATTRIBUTES, "1\nBald\n000000.jpg 1\n", r"000001.jpg has no split .* or no attributes in"),
    ],
)
def test_lists_that_do_not_fit(folder, tmp_path, monkeypatch, name, content, message) -> None:
    for file in (celeba_faces.PARTITION, celeba_faces.ATTRIBUTES):
        (tmp_path / file).write_text((folder / file).read_text())
    (tmp_path / name).write_text(content)
    monkeypatch.setenv(celeba.VARIABLE, str(tmp_path))
    with pytest.raises(UserError, match=message):
        celeba_faces.celeba_faces(image_size=8, crop=12)
    monkeypatch.setenv(celeba.VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="EXFLOW_CELEBA"):
        celeba_faces.celeba_faces()

"""Small data sets for the tests of `exflow.data`, and an empty cache folder for each of them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from exflow.data.registry import REGISTRY, ImageSets, group_by_class, known_data_sets


@pytest.fixture
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXFLOW_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def clean_registry() -> Iterator[None]:
    """Forgets the data sets that a test registers."""
    before = dict(known_data_sets())
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


@pytest.fixture(scope="session")
def numbered() -> ImageSets:
    """7 classes of 5 to 8 images of 4x4; pixel (0, 0) tells the class, (0, 1) the image, so every turn can be told."""
    labels = np.repeat(np.arange(7), [5, 6, 7, 8, 5, 6, 7]).astype(np.int32)
    images = np.zeros((len(labels), 4, 4, 1), np.uint8)
    images[:, 0, 0, 0] = 100 + labels
    images[:, 0, 1, 0] = 1 + np.arange(len(labels))
    shuffled = np.random.default_rng(0).permutation(len(labels))
    return group_by_class(images[shuffled], labels[shuffled], "numbered/train")

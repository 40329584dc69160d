"""MNIST by class: even digits to learn from, odd digits of the test images to be tested on."""

import numpy as np
import pytest

from exflow.data import datasets, registry
from exflow.data.registry import LabelledImages
from exflow.errors import UserError


@pytest.fixture
def mnist(clean_registry, cache_dir) -> LabelledImages:
    """60 numbered images in place of MNIST, every digit twice in every split."""
    images = np.zeros((60, 4, 4, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(60)
    data = LabelledImages(images, np.arange(60, dtype=np.int32) % 10, np.arange(60, dtype=np.uint8) // 20)

    @registry.register("mnist", cache=False)
    def build(image_size: int = 28, resize: str = "bilinear") -> LabelledImages:
        assert (image_size, resize) == (4, "area")
        return data

    return data


@pytest.mark.parametrize("split", [None, "standard_trainval"])
def test_test_digits_are_not_seen_in_training(split, mnist) -> None:
    sets = datasets.load("mnist_even_odd", image_size=4, resize="area", split=split)
    even, odd = [0, 2, 4, 6, 8], [1, 3, 5, 7, 9]
    assert [part.class_ids.tolist() for part in sets.values()] == [even, even, odd]
    assert sets["train"].images[:, 0, 0, 0].tolist() == list(range(0, 40 if split else 20, 2))
    assert sets["validation"].images[:, 0, 0, 0].tolist() == list(range(20, 40, 2))
    assert sets["test"].images[:, 0, 0, 0].tolist() == list(range(41, 60, 2))
    assert sets["train"].context is None


def test_unknown_options_are_refused(mnist) -> None:
    with pytest.raises(UserError, match="mnist_even_odd: has no option 'seed'. Its options: image_size, resize"):
        datasets.load("mnist_even_odd", seed=1)

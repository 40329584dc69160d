"""Numbers of several digits: the published division, the layout, and where the pixels come from."""

import numpy as np
import pytest
from PIL import Image

from exflow.data import datasets, registry
from exflow.data.registry import SPLITS, LabelledImages
from exflow.data.sources.multi_mnist import place, split_of_number
from exflow.errors import UserError
from tests.conftest import need_tfds

# As listed with the published data sets.
DOUBLE_VALIDATION = [3, 7, 10, 22, 27, 34, 39, 40, 48, 52, 58, 61, 64, 71, 93, 99]
DOUBLE_TEST = [2, 17, 25, 32, 36, 46, 47, 49, 55, 57, 66, 67, 68, 73, 78, 80, 83, 86, 92, 96]
TRIPLE_TEST_START, TRIPLE_TEST_END = [2, 3, 8, 14, 16, 17, 39, 46, 47, 51], [956, 957, 964, 976, 988, 990, 996, 998]
TRIPLE_VALIDATION_START, TRIPLE_VALIDATION_END = [1, 10, 12, 19, 25, 29, 44], [963, 975, 980, 981, 992, 999]


@pytest.fixture
def mnist(clean_registry, cache_dir) -> LabelledImages:
    """30 flat pictures in place of MNIST; the value tells the digit (tens) and the drawing (ones)."""
    labels = np.arange(30, dtype=np.int32) % 10
    values = 20 * (labels + 1) + np.arange(30) // 10
    images = np.broadcast_to(values[:, None, None, None], (30, 28, 28, 1)).astype(np.uint8)
    data = LabelledImages(images, labels, np.arange(30, dtype=np.uint8) // 10)
    registry.register("mnist", cache=False)(lambda image_size=28, resize="bilinear": data)
    return data


def test_numbers_are_divided_as_published() -> None:
    assert np.bincount(split_of_number(2)).tolist() == [64, 16, 20]
    assert np.flatnonzero(split_of_number(2) == 1).tolist() == DOUBLE_VALIDATION
    assert np.flatnonzero(split_of_number(2) == 2).tolist() == DOUBLE_TEST
    triple = split_of_number(3)
    assert np.bincount(triple).tolist() == [640, 160, 200]
    validation, test = (np.flatnonzero(triple == split).tolist() for split in (1, 2))
    assert validation[:7] + validation[-6:] == TRIPLE_VALIDATION_START + TRIPLE_VALIDATION_END
    assert test[:10] + test[-8:] == TRIPLE_TEST_START + TRIPLE_TEST_END


@pytest.mark.parametrize(("digits", "size", "places"), [(2, 64, {(36, 4)}), (3, 84, {(56, 1)})])
def test_digits_stand_in_columns_at_any_height(digits, size, places) -> None:
    drawings = np.random.default_rng(0).integers(1, 256, (3000, digits, 28, 28), dtype=np.uint8)
    canvas = place(np.random.default_rng(1), drawings)
    assert canvas.shape == (3000, size, size, 1)
    column = size // digits
    for digit in range(digits):
        part = canvas[:, :, digit * column : (digit + 1) * column, 0]
        top, left = (part > 0).any(axis=2).argmax(axis=1), (part > 0).any(axis=1).argmax(axis=1)
        assert {(top.max() - top.min() + 1, left.max() - left.min() + 1)} == places  # all the room there is
        assert (np.bincount(top) > 0.5 * 3000 / len(np.bincount(top))).all()
        for number in range(0, 3000, 500):
            t, l = top[number], left[number]  # noqa: E741
            np.testing.assert_array_equal(part[number, t : t + 28, l : l + 28], drawings[number, digit])
        assert ((part > 0).sum(axis=(1, 2)) == 28 * 28).all()


@pytest.mark.parametrize(("digits", "size"), [(2, 64), (3, 84)])
def test_images_show_the_digits_of_their_number(digits, size, mnist) -> None:
    options = {"digits": digits, "per_class": 3, "image_size": size}
    sets = datasets.load("multi_mnist", **options)
    classes = [set(sets[part].class_ids.tolist()) for part in SPLITS]
    assert set.union(*classes) == set(range(10**digits))
    assert sum(map(len, classes)) == 10**digits
    for part in sets.values():
        assert (part.count == 3).all()
        columns = part.images.reshape(-1, size, digits, size // digits)
        brightest = columns.max(axis=(1, 3)).reshape(-1, 3, digits).astype(int)
        number = ((brightest // 20 - 1) * 10 ** np.arange(digits)[::-1]).sum(axis=2)
        np.testing.assert_array_equal(number[part.index[:, 0] // 3], np.tile(part.class_ids[:, None], 3))
    drawn = np.unique(np.concatenate([part.images.max(axis=(1, 2, 3)) for part in sets.values()]) % 20)
    assert drawn.tolist() == [0, 1, 2]  # drawings of all splits of MNIST
    turned = datasets.load("multi_mnist", transposed="yes", **options)
    np.testing.assert_array_equal(turned["test"].images, sets["test"].images.swapaxes(1, 2))


def test_the_canvas_is_reduced_by_the_box_filter_of_pillow(mnist) -> None:
    large, small = (datasets.load("multi_mnist", per_class=1, image_size=size)["test"].images for size in (64, 28))
    for picture, reduced in zip(large, small, strict=True):
        expected = Image.fromarray(picture[..., 0]).resize((28, 28), Image.Resampling.BOX)
        np.testing.assert_array_equal(reduced[..., 0], np.asarray(expected))


def test_wrong_options_are_refused(mnist) -> None:
    for options, message in (
        ({"digits": 4}, "multi_mnist: expected digits of 2 or 3, got 4"),
        ({"transposed": "true"}, "multi_mnist: expected transposed of 'yes' or 'no', got 'true'"),
        ({"per_class": 0}, "multi_mnist: expected per_class >= 1, got 0"),
        ({"image_size": 0}, "image_size: expected at least 1, got 0"),
    ):
        with pytest.raises(UserError, match=message):
            datasets.load("multi_mnist", **options)
    assert datasets.parse_options("multi_mnist", "digits=3, per_class=50") == {"digits": 3, "per_class": 50}


@pytest.mark.slow
def test_real_digits() -> None:
    need_tfds("mnist")
    sets = datasets.load("multi_mnist", per_class=2)
    ink = sets["train"].images.mean()
    expected = 2 * 33.4 * 28**2 / 64**2  # mean of MNIST pixels: 33.4
    assert abs(ink - expected) < 1.5

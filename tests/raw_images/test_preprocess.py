"""Raw pictures into the convention of a data set."""

import numpy as np
import pytest
from PIL import Image

from exflow.config import base_config
from exflow.data import registry
from exflow.raw_images.preprocess import preprocess

RNG = np.random.default_rng(0)


def data_section(**overrides):
    data = base_config("bruno").data
    data.update({"dataset": "omniglot", "image_size": 28} | overrides)
    return data


def test_black_on_white_drawings_become_bright_ink():
    raw = np.full((105, 105, 3), 255, np.uint8)
    raw[:, 50:55] = 0
    x = preprocess(raw, data_section(resize="nearest"), (28, 28, 1))
    i = np.floor((np.arange(28) + 0.5) * 105 / 28).astype(int)
    np.testing.assert_array_equal(x, 255 - raw[i][:, i, :1])
    one_bit = (raw[..., 0] > 0).astype(np.uint8)
    for same in (one_bit, one_bit.astype(bool), Image.fromarray(raw), raw[..., 0]):
        np.testing.assert_array_equal(preprocess(same, data_section(resize="nearest"), (28, 28, 1)), x)


def test_a_data_set_says_of_its_drawings_what_ink_they_have(monkeypatch):
    raw = np.full((28, 28), 255, np.uint8)
    raw[:, 12:15] = 0
    undecided = np.tile(np.uint8([0, 255]), (28, 14))
    expected = {"dark": 255 - undecided, "bright": undecided}
    for ink, taken in expected.items():
        monkeypatch.delitem(registry.REGISTRY, "mine", raising=False)
        registry.register("mine", cache=False, ink=ink)(lambda: None)
        data = data_section(dataset="mine", resize="nearest")
        np.testing.assert_array_equal(preprocess(raw, data, (28, 28, 1))[..., 0], 255 - raw)
        with pytest.warns(UserWarning, match=f"the ink is taken as {ink}"):
            np.testing.assert_array_equal(preprocess(undecided, data, (28, 28, 1))[..., 0], taken)
    monkeypatch.delitem(registry.REGISTRY, "mine")
    np.testing.assert_array_equal(preprocess(raw, data, (28, 28, 1))[..., 0], raw)  # not known: nothing is assumed
    with pytest.raises(ValueError, match="ink: expected 'dark' or 'bright' for drawings, got 'blue'. Leave it out"):
        registry.register("mine", ink="blue")


def test_stacks_and_lists_of_any_size():
    stack = RNG.integers(0, 256, (3, 40, 40), dtype=np.uint8)
    data = data_section(dataset="fashion_mnist", image_size=20, resize="area", downscale=2)
    x = preprocess(stack, data, (10, 10, 1))
    assert x.shape == (3, 10, 10, 1)
    twenty = np.floor(stack.reshape(3, 20, 2, 20, 2).mean((2, 4)) + 0.5)
    np.testing.assert_array_equal(x[..., 0], np.floor(twenty.reshape(3, 10, 2, 10, 2).mean((2, 4)) + 0.5))
    mixed = preprocess([stack[1], np.zeros((7, 9), np.uint8), stack[2]], data, (10, 10, 1))
    np.testing.assert_array_equal(mixed[[0, 2]], x[1:])
    inverted = preprocess(255 - stack, data, (10, 10, 1), invert=True)
    assert np.abs(inverted.astype(int) - x).max() <= 1  # halves are rounded up, which inversion turns round


def test_margins_channels_and_opacity():
    tall = np.full((8, 4), 0, np.uint8)
    x = preprocess(tall, data_section(image_size=8, resize="nearest"), (8, 8, 1), invert=True)
    np.testing.assert_array_equal(x[..., 0], np.broadcast_to([0, 0, 255, 255, 255, 255, 0, 0], (8, 8)))
    color = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    gray = preprocess(color, data_section(dataset="fashion_mnist", image_size=8), (8, 8, 1))
    np.testing.assert_array_equal(gray[..., 0], np.asarray(Image.fromarray(color).convert("L")))
    spread = preprocess(color[..., :1], data_section(dataset="cifar10", image_size=8), (8, 8, 3))
    np.testing.assert_array_equal(spread, color[..., :1].repeat(3, -1))
    clear = np.concatenate([color, np.zeros((8, 8, 1), np.uint8)], axis=-1)
    assert not preprocess(clear, data_section(image_size=8), (8, 8, 1)).any()  # white paper


@pytest.mark.parametrize("raw", [[], np.zeros((0, 5, 6), np.uint8), np.zeros((0, 5, 6, 3))])
@pytest.mark.parametrize("dataset", ["omniglot", "cifar10"])
def test_no_pictures_give_no_images(raw, dataset):
    x = preprocess(raw, data_section(dataset=dataset, image_size=8), (8, 8, 1))
    assert x.shape == (0, 8, 8, 1)
    assert x.dtype == np.uint8


def test_errors():
    with pytest.raises(ValueError, match=r"raw: expected float32 pixels in \[0, 1\], got 2..2"):
        preprocess(np.full((5, 5), 2, np.float32), data_section(), (28, 28, 1))
    with pytest.raises(
        ValueError, match=r"preprocess: makes square gray or colour images, and the model takes \[8, 9, 1\]"
    ):
        preprocess(np.zeros((5, 5), np.uint8), data_section(), (8, 9, 1))

"""Resizing against definitions written out in float64."""

import numpy as np
import pytest

from exflow.data.resize import METHODS, resize
from exflow.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 15, 21, 3), dtype=np.uint8)


def test_area_is_the_exact_mean_over_new_pixels() -> None:
    fine = IMAGES.repeat(4, axis=1).repeat(4, axis=2).astype(np.float64)  # every old pixel becomes 4 x 4
    means = fine.reshape(5, 4, 15, 4, 21, 3).mean(axis=(2, 4))
    np.testing.assert_array_equal(resize(IMAGES, 4, "area"), np.floor(means + 0.5))


def test_area_of_large_images_stays_exact() -> None:
    images = np.full((1, 300, 300, 1), 254, np.uint8)
    images[0, 0, 0] = 255
    np.testing.assert_array_equal(resize(images, 7, "area"), np.full((1, 7, 7, 1), 254))


def test_nearest_takes_the_pixel_at_the_centre() -> None:
    image = np.random.default_rng(1).integers(0, 256, (2, 105, 105, 1), dtype=np.uint8)
    i = np.floor((np.arange(28) + 0.5) * 105 / 28).astype(int)
    np.testing.assert_array_equal(resize(image, 28, "nearest")[0], image[0][i][:, i])


def test_bilinear_is_an_antialiased_triangle_filter() -> None:
    def weights(size: int, new_size: int) -> np.ndarray:
        scale = size / new_size
        centres = (np.arange(new_size) + 0.5) * scale
        distance = abs(np.arange(size) + 0.5 - centres[:, None]) / scale
        triangle = np.clip(1 - distance, 0, None)
        return triangle / triangle.sum(axis=1, keepdims=True)

    expected = np.einsum("ah,nhwc,bw->nabc", weights(15, 4), IMAGES, weights(21, 4))
    np.testing.assert_allclose(resize(IMAGES, 4, "bilinear"), expected, atol=1.01)  # Pillow rounds after each axis


@pytest.mark.parametrize("size", [4, 5])
def test_box_is_the_plain_mean_of_the_pixels_whose_centres_lie_inside(size) -> None:
    def weights(old: int) -> np.ndarray:
        centres = (np.arange(old) + 0.5) * size / old  # on a border: to the left
        inside = (centres > np.arange(size)[:, None]) & (centres <= np.arange(1, size + 1)[:, None])
        return inside / inside.sum(axis=1, keepdims=True)

    expected = np.einsum("ah,nhwc,bw->nabc", weights(15), IMAGES, weights(21))
    np.testing.assert_allclose(resize(IMAGES, size, "box"), expected, atol=1.01)  # Pillow rounds after each axis


@pytest.mark.parametrize("method", METHODS)
def test_shapes_and_no_change_at_the_same_size(method) -> None:
    assert resize(IMAGES[..., :1], 28, method).shape == (5, 28, 28, 1)
    square = IMAGES[:, :, :15]
    np.testing.assert_array_equal(resize(square, 15, method), square)


def test_unknown_methods_and_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="resize: expected one of bilinear, area, nearest, box, pad, got 'cubic'"):
        resize(IMAGES, 4, "cubic")
    with pytest.raises(UserError, match="image_size: expected at least 1, got 0"):
        resize(IMAGES, 0)


def test_padding_puts_zeros_around():
    x = np.arange(1, 13, dtype=np.uint8).reshape(1, 3, 4, 1)
    padded = resize(x, 7, "pad")
    np.testing.assert_array_equal(padded[:, 2:5, 1:5], x)  # 2 above and below, 1 left, 2 right
    assert padded.sum() == x.sum()
    with pytest.raises(UserError, match="image_size: pictures of 3x4 cannot be padded to 3. Enlarge it"):
        resize(x, 3, "pad")

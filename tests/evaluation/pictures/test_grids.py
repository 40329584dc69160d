"""Pictures of images of every number of channels and shape, and what explains them."""

import numpy as np
import pytest
from PIL import Image

from exflow.evaluation.pictures import grids
from exflow.evaluation.pictures.view_pictures import sheet

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("height", "width"), [(6, 9), (9, 6), (7, 7)])
def test_every_shape_has_a_picture(channels, height, width) -> None:
    samples = RNG.integers(0, 256, (2, 3, height, width, channels), dtype=np.uint8)
    picture = grids.grid_picture(samples, samples[0, :2], False, list("abc"), ["given", "one", "two"])
    assert picture.mode == ("RGB" if channels in (3, 4) else "L")
    factor = -(-grids.MIN_CELL // max(height, width))
    left, top = picture.width - 3 * (factor * width + 1) - 1, picture.height - 2 * (factor * height + 1) - 1
    shown = np.asarray(picture)[top + 1 :: factor, left + 1 :: factor][:height, :width]
    expected = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}.get(channels)
    image = samples[0, 0]
    if expected is None:
        np.testing.assert_allclose(shown, image.mean(axis=-1), atol=0.5)
    else:  # as Pillow puts it over white
        pillow = Image.fromarray(image.squeeze(-1) if channels == 1 else image).convert("RGBA")
        white = Image.alpha_composite(Image.new("RGBA", pillow.size, "white"), pillow).convert(picture.mode)
        assert np.abs(shown.astype(int) - np.asarray(white)).max() <= 1
    views = sheet(list(samples), np.array([True, False, False]), list("abc"))
    assert views.mode == "RGB"


def test_one_class_has_one_polarity_in_all_pictures() -> None:
    """The split decides; a bold character of a bright class does not."""
    images = np.zeros((20, 4, 4, 1), np.uint8)
    images[:2] = 200
    assert grids.looks_inverted(images)
    assert not grids.looks_inverted(255 - images)
    assert not grids.looks_inverted(images.repeat(3, axis=-1))


def test_a_caption_is_above_its_picture() -> None:
    picture = Image.new("L", (30, 20), 7)
    named = np.asarray(grids.captioned(picture, "red: of another class"))
    assert (named[-20:, :30] == 7).all()
    assert named[:-20].min() < 128
    assert named.shape[1] > 30

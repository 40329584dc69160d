"""Drawings on paper of every shade, against the same drawings in bright ink on black."""

import numpy as np
import pytest

from exflow.config import base_config
from exflow.data.sources.glyphs import generate
from exflow.raw_images.preprocess import preprocess

SIZE, NUM = 96, 12
RNG = np.random.default_rng(0)
INK = generate(NUM // 2, 2, SIZE).reshape(NUM, SIZE, SIZE)  # bright on black
DARKNESS = INK / 255
Y, X = np.mgrid[:SIZE, :SIZE] / SIZE
GRADIENT = 110 + 110 * X * (0.4 + 0.6 * Y)
SHADOW = 120 + 110 / (1 + np.exp(-12 * (X - 0.5)))


def noisy(picture: np.ndarray) -> np.ndarray:
    return np.clip(picture + RNG.normal(0, 3, picture.shape), 0, 255).round().astype(np.uint8)


PAPERS = {
    "gray": noisy(150 * (1 - 0.7 * DARKNESS)),
    "light from one side": noisy(GRADIENT * (1 - 0.8 * DARKNESS)),
    "a shadow": noisy(SHADOW * (1 - 0.8 * DARKNESS)),
    "pencil": noisy(GRADIENT * (1 - 0.4 * DARKNESS)),
    "chalk": noisy(60 + 30 * X + 150 * DARKNESS),
}


def seen(raw: np.ndarray, dataset: str = "omniglot", invert: bool | None = None) -> np.ndarray:
    data = base_config("bruno").data
    data.update({"dataset": dataset, "image_size": 28, "resize": "area", "downscale": 2})
    return preprocess(raw, data, (14, 14, 1), invert)[..., 0].astype(int)


@pytest.mark.parametrize("dataset", ["omniglot", "glyphs", "mnist"])
def test_clean_drawings_of_both_polarities_are_the_same_pixels(dataset) -> None:
    expected = seen(INK, dataset, invert=False)
    np.testing.assert_array_equal(seen(INK, dataset), expected)
    np.testing.assert_array_equal(seen(255 - INK, dataset), expected)
    np.testing.assert_array_equal(seen(255 - INK, dataset, invert=True), expected)
    mixed = np.where(np.arange(NUM)[:, None, None] % 2, INK, 255 - INK)
    np.testing.assert_array_equal(seen(mixed, dataset), expected)


@pytest.mark.parametrize("paper", PAPERS)
def test_paper_of_other_shades_becomes_black_and_ink_white(paper) -> None:
    expected, found = seen(INK, invert=False), seen(PAPERS[paper])
    errors = np.abs(found - expected).mean(axis=(1, 2))
    assert errors.max() < 15
    assert np.median(errors) < 5
    kept = seen(PAPERS[paper], invert=paper != "chalk")
    assert np.abs(kept - expected).mean() > 30  # what it was


@pytest.mark.parametrize("shade", [0, 90, 160, 255])
def test_blank_paper_has_no_ink(shade) -> None:
    blank = noisy(np.full((2, 40, 50), float(shade)))
    assert seen(blank).max() == 0 if 0 < shade < 255 else seen(blank).max() < 16


def test_pictures_that_do_not_tell_are_named_and_follow_their_data_set() -> None:
    noise = RNG.integers(0, 256, (3, 40, 40), dtype=np.uint8)
    for dataset, invert, taken in (("omniglot", True, "dark"), ("mnist", False, "bright")):
        match = (
            rf"cannot tell ink from paper in 3 of 4 pictures \(0, 2, 3\); the ink is taken as {taken}. Set invert=True"
        )
        raw = [noise[0], INK[0], *noise[1:]]
        with pytest.warns(UserWarning, match=match):
            found = seen(raw, dataset)
        np.testing.assert_array_equal(found[[0, 2, 3]], seen(noise, dataset, invert=invert))
        np.testing.assert_array_equal(found[1], seen(INK[0], dataset, invert=False))


def test_bold_ink_inside_a_plain_border_is_ink() -> None:
    bold = np.full((40, 40), 255, np.uint8)
    bold[6:34, 6:34] = 0  # half of the picture
    np.testing.assert_array_equal(seen(bold), seen(255 - bold, invert=False))


def test_pictures_of_other_data_sets_stay_as_they_are() -> None:
    bright = 255 - INK[0]
    np.testing.assert_array_equal(seen(bright, "cifar10"), seen(bright, "cifar10", invert=False))

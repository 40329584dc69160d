"""Rotation against SciPy and against exact quarter turns; which glyphs are left out."""

import numpy as np
import pytest
from scipy import ndimage

from exflow.data import datasets, registry
from exflow.data.registry import LabelledImages
from exflow.data.sources.rotated_views import (
    MARGIN,
    glyph_strokes,
    rotated_glyphs,
    rotated_views,
    self_similarity,
    turn,
)
from exflow.errors import UserError


def picture(side: int, ink: int) -> np.ndarray:
    """Random ink in the middle `ink` x `ink` pixels."""
    image = np.zeros((side, side), np.uint8)
    first = (side - ink) // 2
    image[first : first + ink, first : first + ink] = np.random.default_rng(ink).integers(1, 256, (ink, ink))
    return image


@pytest.mark.parametrize("image_size", [16, 28, 32])
def test_views_are_bilinear_rotations_averaged_down(image_size) -> None:
    """SciPy turns about the centre by an affine map; positive angles take the right to the top."""
    source = picture(14, 8)
    views = rotated_views(source[None, :, :, None], image_size)[0, ..., 0]
    factor = round(64 / image_size)
    step = MARGIN * 14 / (image_size * factor)  # reach 8 / sqrt(2) fits in the frame at zoom 1
    for number in (0, 4, 13, 27):
        angle = np.deg2rad(10 * number)
        matrix = step * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        middle = (image_size * factor - 1) / 2
        fine = ndimage.affine_transform(
            source.astype(np.float64),
            matrix,
            6.5 - matrix @ [middle, middle],
            (image_size * factor,) * 2,
            order=1,
            mode="grid-constant",
        )
        expected = fine.reshape(image_size, factor, image_size, factor).mean(axis=(1, 3))
        np.testing.assert_allclose(views[number], expected, atol=0.51)


@pytest.mark.parametrize("ink", [6, 14])
def test_quarter_turns_are_exact(ink) -> None:
    views = rotated_views(picture(14, ink)[None, :, :, None], 16)[0, ..., 0].astype(int)
    for number in range(4):
        np.testing.assert_allclose(views[9 * number], np.rot90(views[0], number), atol=1)


def test_nothing_is_cut_off() -> None:
    """All the ink is in every view: its sum does not depend on the angle, and the border is empty."""
    pictures = np.stack([np.full((14, 14), 200, np.uint8), picture(14, 14), picture(14, 8)])[..., None]
    views = rotated_views(pictures, 32).astype(np.float64)
    total = views.sum(axis=(2, 3, 4))
    np.testing.assert_allclose(total, np.broadcast_to(total[:, :1], total.shape), rtol=0.01)
    inner = views[:, :, 1:-1, 1:-1].sum(axis=(2, 3, 4))
    np.testing.assert_allclose(inner, total, rtol=1e-3)
    area = (MARGIN * 14 / 32) ** 2
    np.testing.assert_allclose(total[2] * area, pictures[2].sum(), rtol=0.01)  # small ink keeps its size


def circle(num_points: int, turns: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi * turns, num_points)
    return 0.3 * np.stack([np.cos(angle), np.sin(angle)], axis=1)[None]


def test_self_similarity_finds_symmetry() -> None:
    cross = np.stack([np.linspace([-0.3, 0], [0.3, 0], 40), np.linspace([0, -0.3], [0, 0.3], 40)])
    assert self_similarity(circle(90, 1)) > 0.98
    assert self_similarity(cross) > 0.98
    assert self_similarity(cross + np.array([2.0, 0.0])) < 1e-6
    np.testing.assert_allclose(self_similarity(circle(90, 0.25)), 60 / 90, atol=0.1)  # overlap after 30 degrees
    np.testing.assert_allclose(self_similarity(circle(90, 0.5)), 150 / 180, atol=0.1)
    np.testing.assert_allclose(self_similarity(turn(cross, 20.0)), self_similarity(cross), rtol=1e-6)


def test_points_turn_as_pictures_do() -> None:
    np.testing.assert_allclose(turn(np.array([[1.0, 0.0]]), 90.0), [[0.0, -1.0]], atol=1e-12)  # right to top


def test_glyphs_are_the_same_in_all_sizes_and_numbers() -> None:
    large = rotated_glyphs(32, 6, 2, 2).images.reshape(10, 36, 32, 32).astype(np.float64)
    small = rotated_glyphs(16, 3, 1, 1).images.reshape(5, 36, 16, 16).astype(np.float64)
    reduced = large[:5].reshape(5, 36, 16, 2, 16, 2).mean(axis=(3, 5))
    assert np.corrcoef(reduced.ravel(), small.ravel())[0, 1] > 0.97
    assert (rotated_glyphs(16, 3, 1, 1, seed=1).images.reshape(small.shape) != small).any(axis=(1, 2, 3)).all()


def test_glyphs_turn_counter_clockwise_and_stay_inside() -> None:
    views = rotated_glyphs(32, 8, 1, 1).images.reshape(10, 36, 32, 32).astype(np.float64)
    ink = views.sum(axis=(2, 3))
    assert (np.abs(ink / ink.mean(axis=1, keepdims=True) - 1) < 0.12).all()
    for glyph in views:
        similar = [np.corrcoef(np.rot90(glyph[0]).ravel(), view.ravel())[0, 1] for view in glyph]
        assert np.argmax(similar) == 9
        assert similar[9] > 0.85


def test_glyph_traces_stay_inside_when_turned() -> None:
    for number in range(30):
        strokes, pen = glyph_strokes(0, number)
        assert np.hypot(*np.moveaxis(strokes, -1, 0)).max() + pen <= 0.4801


def test_more_objects_than_images_are_refused(clean_registry, cache_dir) -> None:
    @registry.register("mnist", cache=False)
    def mnist() -> LabelledImages:
        return LabelledImages(
            np.zeros((9, 28, 28, 1), np.uint8), np.arange(9, dtype=np.int32), np.arange(9, dtype=np.uint8) // 3
        )

    with pytest.raises(UserError, match=r"rotated_mnist: expected num_test of at most 3, the images of mnist, got 4"):
        datasets.load("rotated_mnist", num_train=1, num_validation=1, num_test=4)

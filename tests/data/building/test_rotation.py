"""Rotation against SciPy and against exact quarter turns."""

import numpy as np
import pytest
from scipy import ndimage

from exflow.data.building.rotation import MARGIN, rotated_views


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

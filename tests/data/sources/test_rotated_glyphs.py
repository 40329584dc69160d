"""Which glyphs are left out, and how they turn."""

import numpy as np

from exflow.data.sources.rotated_glyphs import glyph_strokes, rotated_glyphs, self_similarity, turn


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

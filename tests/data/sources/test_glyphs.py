"""The procedural alphabet: geometry of the pen, reproducibility, and characters that can be told apart."""

import numpy as np
import pytest

from exflow.data import datasets
from exflow.data.building.strokes import curve_weights, draw
from exflow.data.sources.glyphs import generate
from exflow.errors import UserError


@pytest.mark.parametrize("roundness", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("closed", [False, True])
def test_curves_pass_through_their_control_points(roundness, closed) -> None:
    num_pieces = 5 if closed else 4
    weights = curve_weights(5, 8 * num_pieces + 1, roundness, closed)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    expected = np.eye(5)[np.arange(num_pieces + 1) % 5]
    np.testing.assert_allclose(weights[::8], expected, atol=1e-12)


def test_curve_weights_follow_the_catmull_rom_matrix() -> None:
    t = 0.25
    basis = 0.5 * np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]])
    np.testing.assert_allclose(curve_weights(4, 13, 1.0, False)[5], t ** np.arange(4) @ basis, atol=1e-12)


@pytest.mark.parametrize("image_size", [14, 28, 56])
def test_a_pen_stroke_has_the_area_of_its_outline(image_size) -> None:
    """A line of length 0.5 and pen radius 0.03 covers 0.5 x 0.06 and two half discs."""
    points = np.stack([np.linspace(0.25, 0.75, 200), np.full(200, 0.5)], axis=1)[None]
    ink = draw(points, np.array([0.03]), image_size).sum() / 255 / image_size**2
    np.testing.assert_allclose(ink, 0.5 * 0.06 + np.pi * 0.03**2, rtol=0.2)


def test_ink_is_where_the_points_are_and_nothing_outside_or_for_nan() -> None:
    points = np.array([[[0.8, 0.2], [np.nan, np.nan], [1.7, 0.5], [-0.2, 0.5]]])
    image = draw(points, np.array([0.02]), 28)[0, :, :, 0]
    row, column = np.argwhere(image).mean(axis=0)
    assert abs(row - 5.1) < 1
    assert abs(column - 21.9) < 1
    assert (image > 0).sum() <= 9


def test_a_class_is_a_function_of_seed_and_number() -> None:
    images = generate(6, 3, 20, seed=1)
    np.testing.assert_array_equal(generate(6, 3, 20, seed=1), images)
    np.testing.assert_array_equal(generate(2, 3, 20, seed=1, first_class=3), images[3:5])
    assert (generate(6, 3, 20, seed=2) != images).any(axis=(1, 2, 3, 4)).all()
    assert generate(1, 2, 16, first_class=10**9).any()


def test_data_set_has_disjoint_classes_of_the_asked_sizes() -> None:
    sets = datasets.load("glyphs", image_size=14, num_train=12, num_validation=3, num_test=5, images_per_class=4)
    assert [len(sets[part].count) for part in ("train", "validation", "test")] == [12, 3, 5]
    assert all((sets[part].count == 4).all() for part in sets)
    np.testing.assert_array_equal(np.concatenate([sets[part].class_ids for part in sets]), np.arange(20))
    assert sets["train"].images.shape == (48, 14, 14, 1)


def test_characters_look_like_characters_and_can_be_told_apart() -> None:
    """Ink, contrast and variation as in Omniglot, where the same nearest neighbour finds 23 %."""
    images = generate(100, 20)
    ink = images.mean(axis=(2, 3, 4)) / 255
    assert 0.04 < ink.mean() < 0.1
    assert ink.min() > 0.01
    assert (images.max(axis=(2, 3, 4)) > 100).all()
    assert len({x.tobytes() for x in images.reshape(2000, -1)}) == 2000
    rng = np.random.default_rng(0)
    flat = images.reshape(100, 20, -1).astype(np.float32)
    correct = []
    for _ in range(1000):
        classes = rng.choice(100, 20, replace=False)
        support, query = flat[classes, 0], flat[classes[0], rng.integers(1, 20)]
        correct.append(((support - query) ** 2).sum(axis=1).argmin() == 0)
    assert 0.2 < np.mean(correct) < 0.6  # chance 0.05


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(UserError, match="glyphs: expected num_classes and images_per_class >= 1"):
        generate(0)
    with pytest.raises(UserError, match="glyphs: expected at least one class in every split"):
        datasets.load("glyphs", num_test=0)

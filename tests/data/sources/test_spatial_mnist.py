"""Points of digits: where they lie, how often, and which digits there are."""

import numpy as np
import pytest

from exflow.data import datasets, registry
from exflow.data.registry import SPLITS, LabelledImages
from exflow.data.sources.spatial_mnist import draw_pixels, draw_points
from exflow.errors import UserError
from tests.conftest import need_tfds


@pytest.fixture
def mnist(clean_registry) -> LabelledImages:
    """90 random pictures of about 78 lit pixels in place of MNIST, 30 per split, digits 0 to 9 in turn."""
    rng = np.random.default_rng(0)
    images = np.where(rng.random((90, 28, 28, 1)) < 0.1, rng.integers(1, 256, (90, 28, 28, 1)), 0).astype(np.uint8)
    data = LabelledImages(images, np.arange(90, dtype=np.int32) % 10, np.repeat(np.arange(3, dtype=np.uint8), 30))
    registry.register("mnist", cache=False)(lambda image_size=28, resize="bilinear": data)
    return data


OPTIONS = {"num_train": 20, "num_validation": 10, "num_test": 30}


@pytest.mark.parametrize(("without_one", "num_points"), [("yes", 50), ("no", 30)])
def test_points_lie_in_different_lit_pixels_of_their_digit(without_one, num_points, mnist) -> None:
    sets = datasets.load("spatial_mnist", image_size=28, num_points=num_points, without_one=without_one, **OPTIONS)
    kept = mnist.labels != 1 if without_one == "yes" else np.ones(90, bool)
    for number, (part, size) in enumerate(zip(SPLITS, OPTIONS.values(), strict=True)):
        rows = np.flatnonzero((mnist.split == number) & (np.cumsum(mnist.split == number) <= size) & kept)
        points = sets[part].images[sets[part].index][:, :, 0, 0]
        assert points.shape == (len(rows), num_points, 2)
        assert points.dtype == np.float32
        np.testing.assert_array_equal(sets[part].context[sets[part].index[:, 0], 0], mnist.labels[rows])
        column, row = np.moveaxis(np.floor(points).astype(int), -1, 0)
        images = mnist.images[rows, ::-1, :, 0]  # row 0 at the bottom: y points up
        assert (images[np.arange(len(rows))[:, None], row, column] > 0).all()
        assert all(len(set(pixels)) == num_points for pixels in (28 * row + column).tolist())
    every = [set(part.class_ids.tolist()) for part in sets.values()]
    assert sum(map(len, every)) == len(set.union(*every))


def test_first_draws_are_proportional_to_intensity() -> None:
    images = np.tile(np.array([0, 10, 30, 60, 100], np.uint8), (20000, 1))
    share = np.bincount(draw_pixels(np.random.default_rng(0), images, 1)[:, 0], minlength=5) / 20000
    expected = images[0] / 200
    assert (abs(share - expected) <= 5 * np.sqrt(expected * (1 - expected) / 20000)).all()


def test_pairs_are_drawn_one_after_the_other_without_replacement() -> None:
    images = np.tile(np.array([1, 2, 5], np.uint8), (20000, 1))
    left_out = 3 - draw_pixels(np.random.default_rng(1), images, 2).sum(axis=1)
    p = np.array([1, 2, 5]) / 8
    pairs = [p[b] * p[c] * (1 / (1 - p[b]) + 1 / (1 - p[c])) for b, c in ((1, 2), (0, 2), (0, 1))]
    share = np.bincount(left_out, minlength=3) / 20000
    np.testing.assert_array_less(abs(share - pairs), 5 * np.sqrt(np.array(pairs) / 20000))


def test_with_replacement_where_few_pixels_are_lit() -> None:
    images = np.zeros((2, 28, 28, 1), np.uint8)
    images[0, 3, 5], images[0, 10, 20], images[1] = 50, 150, 1
    points = draw_points(np.random.default_rng(0), images, 400)
    places, counts = np.unique(np.floor(points[0]), axis=0, return_counts=True)
    np.testing.assert_array_equal(places, [[5, 24], [20, 17]])
    assert abs(counts[1] - 300) < 5 * np.sqrt(400 * 0.75 * 0.25)
    assert len(np.unique(np.floor(points[1]), axis=0)) == 400
    assert (points < 28).all()
    inside = (points[1] % 1).ravel()
    np.testing.assert_allclose([inside.mean(), inside.var()], [1 / 2, 1 / 12], atol=5 * np.sqrt(1 / 12 / 800))


def test_wrong_options_are_refused(mnist) -> None:
    for options, message in (
        ({"without_one": "maybe"}, "spatial_mnist: expected without_one of 'yes' or 'no', got 'maybe'"),
        ({"num_points": 0}, "spatial_mnist: expected num_points >= 1, got 0"),
        ({"num_points": 785}, "spatial_mnist: expected num_points of at most 784"),
        ({"num_test": 31}, "spatial_mnist: expected num_test of at most 30, the test images, got 31"),
    ):
        with pytest.raises(UserError, match=message):
            datasets.load("spatial_mnist", **{**OPTIONS, **options})


@pytest.mark.slow  # prepares all of MNIST
def test_real_digits() -> None:
    need_tfds("mnist")
    sets = datasets.load("spatial_mnist", num_train=500, num_validation=20, num_test=10000)
    assert len(sets["test"].count) == 10000 - 1135  # as many ones are in the test split
    assert 1 not in sets["test"].context
    assert (sets["test"].count == 50).all()
    assert 0.8 < np.log(28**2) / 8 < 0.84  # nats of the uniform density are 6.66

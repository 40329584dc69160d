"""Codes from Python: a model whose code says which pixels are bright, with fits to made-up training codes."""

import numpy as np
import pytest

from exflow.api import TrainedModel
from exflow.errors import UserError
from tests.evaluation.bright import CODES, bright_model, fitted_codes

IMAGES = np.where(np.random.default_rng(1).random((5, 2, 2, 1)) < 0.5, 255, 0).astype(np.uint8)


@pytest.fixture(scope="module")
def model():
    return TrainedModel(bright_model(), {}, fitted=fitted_codes())


def test_codes_and_back(model):
    codes = model.codes(IMAGES)
    np.testing.assert_array_equal(codes, IMAGES.reshape(5, 4) > 0)
    np.testing.assert_array_equal(model.decode_codes(codes), IMAGES)
    np.testing.assert_array_equal(model.decode_codes(model.codes(IMAGES[0])), IMAGES[0])
    assert model.codes(IMAGES[:0]).shape == (0, 4)
    assert model.decode_codes(codes[:0]).shape == (0, 2, 2, 1)


def test_samples_by_method(model):
    for method in ("", "cov"):
        drawn = model.sample(None, 0, 3_000, method=method)
        np.testing.assert_allclose((drawn.reshape(-1, 4) > 0).mean(axis=0), CODES.mean(axis=0), atol=5 / np.sqrt(3_000))


def test_ways_between_images(model):
    path = model.interpolate(IMAGES[:2], IMAGES[2:4], num_steps=5)
    assert path.shape == (5, 2, 2, 2, 1)
    np.testing.assert_array_equal(path[0], IMAGES[:2])
    np.testing.assert_array_equal(path[-1], IMAGES[2:4])
    assert model.interpolate(IMAGES[0], IMAGES[1], 3, "hyperplane").shape == (3, 2, 2, 1)


def test_attributes_are_set_and_removed(model):
    with_left, without = model.edit(IMAGES, "left"), model.edit(IMAGES, "left", strength=-1.0)
    np.testing.assert_array_equal(with_left[:, 1, 1], 255)  # the fourth bit
    np.testing.assert_array_equal(without[:, 1, 1], 0)
    np.testing.assert_array_equal(with_left.reshape(5, 4)[:, :3], IMAGES.reshape(5, 4)[:, :3])
    of_class = model.edit(IMAGES, 1)
    np.testing.assert_array_equal(of_class[:, 0, :, 0], np.tile([255, 0], (5, 1)))
    np.testing.assert_array_equal(model.edit(IMAGES, 1, strength=0.0), IMAGES)
    assert model.direction_of(1, "mean").chosen[:2].all()


def test_completions(model):
    known = np.array([True, False, True, False])
    found = model.complete(model.codes(IMAGES), known)
    np.testing.assert_array_equal(found[:, known], model.codes(IMAGES)[:, known])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.edit(IMAGES, "right"), "attribute: expected one of left, 0, 1, got 'right'"),
        (lambda m: m.edit(IMAGES, "left", strength=2.0), r"strength: expected a number in \[-1, 1\], got 2.0"),
        (lambda m: m.edit(IMAGES, "left", direction="up"), "direction: expected one of contrast, mean, got 'up'"),
        (lambda m: m.interpolate(IMAGES, IMAGES[:2]), "end: expected as many images as begin"),
        (lambda m: m.interpolate(IMAGES, IMAGES, 1), "num_steps: expected at least 2, got 1"),
        (lambda m: m.interpolate(IMAGES, IMAGES, form="arc"), "form: expected one of orthant, hyperplane, got 'arc'"),
        (lambda m: m.decode_codes(np.zeros((2, 3), bool)), r"codes: expected bool \[..., 4\], got bool \[2, 3\]"),
        (lambda m: m.decode_codes(np.zeros((2, 4))), r"codes: expected bool \[..., 4\], got float64"),
        (lambda m: m.complete(CODES, np.ones(3, bool)), r"known: expected \[4\], got \[3\]"),
        (lambda m: TrainedModel(m.core, {}).edit(IMAGES, "left"), "nothing was fitted to its training codes"),
    ],
)
def test_errors_are_one_line(model, call, message):
    with pytest.raises((UserError, ValueError), match=message):
        call(model)

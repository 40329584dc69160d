"""Codes from Python: a model whose code says which pixels are bright, with fits to made-up training codes."""

import jax.numpy as jnp
import numpy as np
import pytest

from exflow.api import TrainedModel
from exflow.codes import CodeFunctions, FittedCodes, Sampler, TrainingCodes
from exflow.errors import UserError
from exflow.model import Model
from exflow.models.lbae.sampler import complete_bits, draw_bits, fit_bits, interpolate_bits

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 400)
LEFT = RNG.random(400) < 0.5
SHARES = [0.2 + 0.6 * LABELS, 0.8 - 0.6 * LABELS, np.full(400, 0.5), 0.1 + 0.8 * LEFT]
CODES = RNG.random((400, 4)) < np.stack(SHARES, axis=1)
TRAINING = TrainingCodes(CODES, LABELS, LEFT[:, None], ("left",))
IMAGES = np.where(RNG.random((5, 2, 2, 1)) < 0.5, 255, 0).astype(np.uint8)


@pytest.fixture(scope="module")
def model():
    def decode(params, bits):
        return jnp.where(bits, 255, 0).astype(jnp.uint8).reshape(*bits.shape[:-1], 2, 2, 1)

    def encode(params, x):
        return (x >= 128).reshape(*x.shape[:-3], 4)

    core = Model(
        name="bright",
        image_shape=(2, 2, 1),
        init=None,
        loss=None,
        encode=lambda params, key, x, context=None: encode(params, x),
        codes=CodeFunctions(4, encode, decode),
        sampler=Sampler(("threshold", "cov"), fit_bits, draw_bits, interpolate_bits, complete_bits),
    )
    fits = {method: fit_bits(CODES, method) for method in core.sampler.methods}
    fitted = FittedCodes(lambda method: fits[method or "threshold"], lambda: TRAINING)
    return TrainedModel(core, {}, fitted=fitted)


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

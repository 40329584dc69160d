"""The law of hidden pixels against SciPy and against the law of whole images, and masks without a key."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from exflow.core.likelihoods.hidden_pixels import content_mask, of_hidden_pixels, pixel_log_probs, split_mask
from exflow.core.likelihoods.likelihood import LIKELIHOODS, likelihood
from exflow.core.observed import beside, patch_mask, quadrant_mask

RNG = np.random.default_rng(0)
ONE_PIXEL = functools.partial(patch_mask, num_patches=1, patch_size=1)


def test_only_hidden_pixels_count():
    law = of_hidden_pixels(likelihood("bernoulli"), quadrant_mask)
    with jax.enable_x64(True):
        image, logits = RNG.integers(0, 2, (3, 2, 4, 6, 1)).astype(float), RNG.normal(size=(3, 2, 4, 6, 1))
        observed = RNG.random((3, 2, 4, 6, 1)) < 0.4
        found = law.log_prob(jnp.asarray(logits), beside(jnp.asarray(image), jnp.asarray(observed)))
    log_probs = stats.bernoulli(1 / (1 + np.exp(-logits))).logpmf(image)
    np.testing.assert_allclose(found, np.where(observed, 0, log_probs).sum((-3, -2, -1)), rtol=1e-12)


PIXELS = sorted(name for name in LIKELIHOODS if name != "gaussian")
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name == "logistic_mixture" else name for name in PIXELS]


@pytest.mark.parametrize("name", NAMES)
def test_pixels_of_every_law_add_up(name):
    law = likelihood(name)
    x = jnp.asarray(RNG.integers(0, 256, (2, 3, 4, 3), dtype=np.uint8))
    outputs = jnp.asarray(RNG.normal(size=(2, 3, 4, law.num_outputs(3))).astype(np.float32))

    @jax.jit
    def both(outputs, x):
        values = law.to_values(None, x)
        return pixel_log_probs(law, outputs, values).sum((1, 2)), law.log_prob(outputs, values)

    np.testing.assert_allclose(*both(outputs, x), rtol=1e-5)


def test_values_carry_the_mask_that_was_drawn():
    law = of_hidden_pixels(likelihood("bernoulli"), quadrant_mask)
    x = RNG.choice(np.array([0, 255], np.uint8), (5, 4, 4, 1))
    split = jax.jit(lambda key, x: split_mask(law.to_values(key, x)))
    first, second, fixed = (jax.device_get(split(key, x)) for key in (jax.random.key(0), jax.random.key(1), None))
    for image, observed in (first, second, fixed):
        np.testing.assert_array_equal(image, x / np.float32(255))
        np.testing.assert_array_equal((~observed).sum((1, 2, 3)), 4)
    assert (first[1] != second[1]).any()


def test_without_a_key_a_mask_is_a_function_of_its_image():
    images, of = RNG.random((40, 2, 2, 1)).astype(np.float32), jax.jit(functools.partial(content_mask, ONE_PIXEL))
    masks = np.asarray(of(images))
    np.testing.assert_array_equal(masks[::-1], of(images[::-1]))
    np.testing.assert_array_equal(masks[7], of(images[7]))
    assert (np.asarray(~masks).sum(0) > 0).sum() == 4

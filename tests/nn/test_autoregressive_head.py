"""Masks of the autoregressive head by its Jacobian, and the law behind it on images that can be counted."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from exflow.core.likelihoods.autoregressive import autoregressive
from exflow.core.likelihoods.learned import learned_likelihood
from exflow.nn.autoregressive_head import AutoregressiveHead, causal_mask
from exflow.nn.network import network

NUM_FEATURES = 2


def test_masks_are_those_of_the_order_of_reading():
    expected = [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(causal_mask(3, centre=False), expected)
    expected[1][1] = 1
    np.testing.assert_array_equal(causal_mask(3, centre=True), expected)


def test_outputs_depend_on_earlier_pixels_and_all_features_alone(x64):
    height, width, channels = 4, 5, 2
    head = AutoregressiveHead(3, filters=6)
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.normal(size=(1, height, width, NUM_FEATURES)))
    values = jnp.asarray(rng.normal(size=(1, height, width, channels)))
    params = jax.jit(head.init)(jax.random.key(0), features, values)
    of_features, of_values = jax.jit(jax.jacrev(lambda *inputs: head.apply(params, *inputs), argnums=(0, 1)))(
        features, values
    )
    pixels = height * width
    depends = np.abs(np.asarray(of_values)).reshape(pixels, 3, pixels, channels).max(axis=(1, 3)) > 0
    assert not depends[np.triu_indices(pixels)].any()  # exactly: no value of the pixel itself, nor of a later one
    here, there = np.divmod(np.arange(pixels), width)
    for one, other in itertools.product(range(pixels), repeat=2):
        up, left = here[one] - here[other], there[one] - there[other]
        if (up == 0 and 0 < left <= 4) or (up > 0 and max(up, abs(left)) <= 2):
            assert depends[one, other]  # all of the first kernel, and what the next layers add on the left
    seen = np.abs(np.asarray(of_features)).reshape(pixels, 3, pixels, NUM_FEATURES).max(axis=(1, 3)) > 0
    assert seen[np.arange(pixels), np.arange(pixels)].all()


def law_of(name, channels, scale):
    """A law with random kernels, `scale` times those of the start so that pixels depend on each other; and its head."""
    base = learned_likelihood(name)
    head = network(AutoregressiveHead(base.num_outputs(channels), filters=4, sizes=(3, 3)))
    own = autoregressive(base, head, NUM_FEATURES, channels)
    assert (own.num_outputs(channels), own.fit) == (NUM_FEATURES, None)
    learned, statistics = jax.jit(own.init, static_argnums=1)(jax.random.key(1), (2, 2, channels))
    learned = jax.tree.map(lambda leaf: (scale if leaf.ndim > 1 else 0.0) * leaf, learned)
    return own.law(learned, statistics), lambda *inputs: head.apply(learned["head"], *inputs)


@pytest.fixture(scope="module")
def binary():
    """The law of 2x2 binary pixels and its head, features of one image, all 16 images and their probabilities."""
    law, head = law_of("bernoulli", 1, 2.0)
    features = jnp.asarray(0.5 * np.random.default_rng(2).normal(size=(2, 2, NUM_FEATURES)), jnp.float32)
    images = jnp.asarray(np.array(list(itertools.product((0.0, 1.0), repeat=4)), np.float32).reshape(16, 2, 2, 1))
    log_probs = jax.jit(law.log_prob)(jnp.broadcast_to(features, (16, *features.shape)), images)
    return law, head, features, images, np.exp(np.float64(log_probs))


@pytest.mark.slow
def test_probabilities_of_all_images_add_up_to_one(binary):
    law, _, _, images, probabilities = binary
    np.testing.assert_allclose(probabilities.sum(), 1.0, rtol=1e-5)
    correlation = np.cov(np.asarray(images).reshape(16, 4).T, aweights=probabilities)
    assert np.abs(correlation[np.triu_indices(4, 1)]).max() > 0.02  # pixels do depend on each other
    assert (law.name, law.discrete) == ("autoregressive bernoulli", True)


@pytest.mark.slow
def test_samples_have_the_probabilities_that_log_prob_says(binary):
    law, _, features, _, probabilities = binary
    number = 4000
    many = jnp.broadcast_to(features, (2, number // 2, *features.shape))
    drawn = np.asarray(jax.jit(law.sample)(jax.random.key(3), many)).reshape(number, 4)
    counts = np.bincount((drawn @ [8, 4, 2, 1]).astype(int), minlength=16)
    assert stats.chisquare(counts, number * probabilities / probabilities.sum()).pvalue > 1e-5


@pytest.mark.slow
def test_mean_is_that_of_every_pixel_given_those_before(binary):
    law, head, features, *_ = binary
    mean = jax.jit(law.mean)(features)
    assert mean.shape == (2, 2, 1)
    np.testing.assert_allclose(mean, jax.nn.sigmoid(head(features, mean)), rtol=1e-5)


@pytest.mark.slow  # compiles ten components of three colours twice
def test_colours_of_a_pixel_are_drawn_together():
    law, _ = law_of("logistic_mixture", 3, 1.0)
    features = jnp.zeros((1, 2, 2, NUM_FEATURES))
    x = law.to_pixels(jax.jit(law.sample)(jax.random.key(4), features))
    assert (x.shape, x.dtype) == ((1, 2, 2, 3), jnp.uint8)
    assert np.isfinite(law.log_prob(features, law.to_values(None, x))).all()

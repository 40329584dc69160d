"""Conditional Matryoshka networks: what each network sees, what is scored, and what is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from exflow.config.validation import validate
from exflow.core.observed import beside
from exflow.errors import UserError
from exflow.models import latent_bounds
from exflow.models.registry import build
from exflow.typing import Batch
from tests.models.matnet.small import BARE, config_of
from tests.models.parameters import random_params

OPTIONS = BARE | {"levels": "2-3-1,4-4-1", "conditional": "quadrants", "likelihood": "bernoulli", "sample_means": False}
RNG = np.random.default_rng(0)
IMAGES = RNG.choice(np.array([0, 255], np.uint8), (5, 4, 4, 1))
OBSERVED = RNG.random((5, 4, 4, 1)) < 0.6
BATCH = Batch(jnp.asarray(IMAGES[:, None]), jnp.ones((5, 1), bool), jnp.zeros(5, jnp.int32))


@pytest.fixture(scope="module")
def model():
    return build(config_of(OPTIONS), (4, 4, 1))


@pytest.fixture(scope="module")
def params(model):
    return random_params(model, config_of(OPTIONS))


@pytest.fixture(scope="module")
def sample(model):
    return jax.jit(model.imputation.sample, static_argnums=4)


@pytest.fixture(scope="module")
def encode(model):
    return jax.jit(model.latents.encode_values)


@pytest.fixture(scope="module")
def terms(model):
    """Of images under masks: terms of the bound of each alone."""

    @jax.jit
    def found(params, values):
        elements = jax.tree.map(lambda leaf: leaf[:, None], model.latents.encode_values(params, values))
        return latent_bounds.elbo_terms(model.latents, params, jax.random.key(1), elements, jnp.ones((5, 1), bool))

    return found


def with_mask(images, observed=OBSERVED):
    return np.concatenate([images / np.float32(255), np.asarray(observed, np.float32)], axis=-1)


def test_the_prior_sees_no_hidden_pixel(params, sample, encode):
    """Not even one bit of what the prior network puts out, or of an imputation, changes with them."""
    changed = np.where(OBSERVED, IMAGES, 255 - IMAGES)
    one, other = encode(params, with_mask(IMAGES)), encode(params, with_mask(changed))
    jax.tree.map(np.testing.assert_array_equal, one.features.prior, other.features.prior)
    one, other = jax.tree.map(np.asarray, (one, other))
    different = jax.tree.map(lambda a, b: (a != b).any(), one.features.posterior, other.features.posterior)
    assert all(jax.tree.leaves(different))
    mask = jnp.asarray(OBSERVED)
    drawn = [np.asarray(sample(params, jax.random.key(0), jnp.asarray(x), mask, 8)) for x in (IMAGES, changed)]
    hidden = np.broadcast_to(~OBSERVED, drawn[0].shape)
    np.testing.assert_array_equal(drawn[0][hidden], drawn[1][hidden])


def test_the_prior_sees_every_observed_pixel(model, params):
    @jax.jit
    @jax.grad
    def gradient_of(image):
        top = model.latents.encode_values(params, beside(image, jnp.asarray(OBSERVED[:1]))).features.prior.top
        return (top * RNG.normal(size=top.shape)).sum()

    gradient = gradient_of(jnp.asarray(IMAGES[:1] / np.float32(255)))
    np.testing.assert_array_equal(gradient != 0, OBSERVED[:1])


def test_imputations(params, sample):
    drawn = np.asarray(sample(params, jax.random.key(0), jnp.asarray(IMAGES), jnp.asarray(OBSERVED), 8))
    assert drawn.shape == (8, 5, 4, 4, 1)
    np.testing.assert_array_equal(drawn[:, OBSERVED], np.broadcast_to(IMAGES[OBSERVED], (8, OBSERVED.sum())))
    assert set(np.unique(drawn)) == {0, 255}
    assert (drawn.std(axis=0)[~OBSERVED] > 0).mean() > 0.8
    order = [3, 0, 4, 2, 1]
    again = sample(params, jax.random.key(0), jnp.asarray(IMAGES[order]), jnp.asarray(OBSERVED[order]), 8)
    np.testing.assert_array_equal(drawn[:, order], again)


@pytest.mark.slow
def test_loss_is_the_bound_of_hidden_pixels(model, params, encode, terms):
    """Reconstruction against SciPy, from the outputs of a pass whose latents are means."""
    elements, mask = jax.tree.map(lambda leaf: leaf[:, None], encode(params, with_mask(IMAGES))), jnp.ones((5, 1), bool)
    outputs = model.latents.infer(params, elements, mask, None)[1]
    found = model.latents.likelihood_of(params).log_prob(outputs, elements.values)
    law = stats.bernoulli(jax.nn.sigmoid(np.asarray(outputs, np.float64)[:, 0]))
    expected = np.where(OBSERVED, 0, law.logpmf(IMAGES / 255)).sum((1, 2, 3))
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)
    parts = terms(params, with_mask(IMAGES))
    assert parts.kl_examples.shape == (3, 5)
    assert (parts.kl_examples > 0).all()
    np.testing.assert_array_equal(terms(params, with_mask(IMAGES, np.ones_like(OBSERVED))).log_prob, 0)


def test_equal_networks_have_no_divergence(params, terms):
    """The inference network with the prior's weights, and none for what only it sees."""

    def padded(own, prior):
        return np.pad(prior, [(0, more - size) for more, size in zip(own.shape, prior.shape, strict=True)])

    equal = {**params, "inference": jax.tree.map(padded, params["inference"], params["prior"])}
    np.testing.assert_allclose(terms(equal, with_mask(IMAGES)).kl_examples, 0, atol=1e-9)


@pytest.mark.slow
def test_every_network_and_the_scale_learn(model, params):
    def value(params):
        loss = model.loss(params, jax.random.key(0), BATCH)
        return loss.value, loss

    gradient, loss = jax.grad(value, has_aux=True)(params)
    assert "bits_per_dim" not in loss.metrics
    assert gradient["generator"]["dist_scale"] != 0
    assert all((leaf != 0).any() for part in ("prior", "inference") for leaf in jax.tree.leaves(gradient[part]))
    jax.tree.map(np.testing.assert_array_equal, loss.statistics, params["statistics"])  # the fill is no running average


def test_there_are_two_groups(model, params):
    groups = {name: model.group_of(name) for name in params}
    assert groups == {
        "generator": "generator",
        "prior": "generator",
        "inference": "inference",
        "statistics": "statistics",
    }


def test_hidden_pixels_are_filled_with_the_mean_of_the_training_images(model, params, encode):
    images = RNG.integers(0, 256, (7, 4, 4, 1), dtype=np.uint8)
    fitted = model.fit_images(params, iter([images[:3], images[3:]]))
    mean = fitted["statistics"]["observed"]["train_mean"]
    np.testing.assert_allclose(mean, images.mean(axis=0) / 255, rtol=1e-6)
    filled = np.where(OBSERVED, IMAGES, 255 * np.asarray(mean)) / np.float32(255)
    found = encode(fitted, with_mask(IMAGES)).features.prior
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, _prior_of_filled(fitted, filled, encode)
    )


def _prior_of_filled(params, filled, encode):
    """What the prior makes of images that hold the mean already."""
    return encode(params, with_mask(255 * filled)).features.prior


def test_masks_are_drawn_anew_from_the_key(model, params, encode):
    to_values = jax.jit(model.latents.likelihood.to_values)
    first, second = (np.asarray(encode(params, to_values(jax.random.key(seed), IMAGES)).values) for seed in (0, 1))
    assert (first[..., -1] != second[..., -1]).any()
    fixed = np.asarray(to_values(None, IMAGES))
    np.testing.assert_array_equal(fixed[::-1], to_values(None, IMAGES[::-1]))


def test_what_a_conditional_network_has_no_use_for():
    wrong = {
        "model.matnet.prior": ("mean", "expected standard with model.matnet.conditional"),
        "model.matnet.num_components": (3, "expected 0 with model.matnet.conditional"),
        "objective.sleep_start_step": (5, "expected 0 with model.matnet.conditional"),
    }
    for key, (value, message) in wrong.items():
        config = config_of(OPTIONS)
        config.update_from_flattened_dict({key: value})
        with pytest.raises(UserError, match=message):
            validate(config)
    with pytest.raises(UserError, match="pixels that are independent given the latents"):
        build(config_of(OPTIONS | {"likelihood": "whitened_gaussian"}), (4, 4, 1))

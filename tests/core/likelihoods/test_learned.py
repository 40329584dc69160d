"""Laws with parameters: the whitened Gaussian as a normal law of pixels, and laws that have none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from exflow.core.likelihoods.learned import LEARNED, learned_likelihood
from exflow.core.likelihoods.likelihood import LIKELIHOODS
from exflow.errors import UserError

SHAPE, LOG_VARIANCE = (2, 2, 3), -0.7


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    mixed = np.clip(128 + rng.normal(size=(60, 12)) @ rng.normal(0, 12, (12, 12)), 0, 255).astype(np.uint8)
    return mixed.reshape(60, *SHAPE)


@pytest.fixture(scope="module")
def law(images):
    own = learned_likelihood("whitened_gaussian")
    learned, statistics = own.init(jax.random.key(0), SHAPE)
    assert own.fit is not None
    fitted = own.fit([images[:25], images[25:]])
    assert jax.tree.map(jnp.shape, fitted) == jax.tree.map(jnp.shape, statistics)
    assert float(learned["log_variance"]) == 1.0
    return own.law({"log_variance": jnp.float32(LOG_VARIANCE)}, fitted)


def test_density_is_that_of_dequantised_pixels(law, images):
    """In pixels: N(m + W^-1 mean, exp(log_variance) W^-2), where W is the root of the inverse covariance."""
    rng, x = np.random.default_rng(1), images[:4].reshape(2, 2, *SHAPE)
    outputs = rng.normal(size=x.shape)
    flat = images.reshape(60, -1)
    covariance = np.cov(flat.T, bias=True) + np.eye(12) / 12
    size, axes = np.linalg.eigh(covariance)
    root = axes * np.sqrt(size + 1e-5) @ axes.T
    for key in (None, jax.random.key(0)):
        noise = np.full(x.shape, 0.5) if key is None else np.asarray(jax.random.uniform(key, x.shape))
        values = law.to_values(key, jnp.asarray(x))
        found = law.log_prob(jnp.asarray(outputs, jnp.float32), values)
        assert found.shape == (2, 2)
        for one in np.ndindex(2, 2):
            mean = flat.mean(axis=0) + 0.5 + root @ outputs[one].ravel()
            normal = stats.multivariate_normal(mean, np.exp(LOG_VARIANCE) * root @ root)
            np.testing.assert_allclose(found[one], normal.logpdf((x + noise)[one].ravel()), rtol=1e-4)


@pytest.mark.slow
def test_pixels_come_back_and_samples_spread_around_the_outputs(law, images):
    for key in (None, jax.random.key(1)):
        np.testing.assert_array_equal(law.to_pixels(law.to_values(key, jnp.asarray(images))), images)
    outputs = jnp.asarray(np.random.default_rng(2).normal(size=SHAPE), jnp.float32)
    many = jnp.broadcast_to(outputs, (4000, *SHAPE))
    np.testing.assert_array_equal(law.mean(outputs), outputs)
    residual = np.asarray(law.sample(jax.random.key(3), many) - many)
    variance = np.exp(LOG_VARIANCE)
    assert (np.abs(residual.mean(axis=0)) < 5 * np.sqrt(variance / 4000)).all()
    assert abs((residual**2).mean() - variance) < 5 * variance * np.sqrt(2 / residual.size)


@pytest.mark.slow
def test_log_variance_is_learned_and_the_whitening_is_not_touched(law, images):
    own = LEARNED["whitened_gaussian"]
    outputs = jnp.zeros(SHAPE)

    def total(log_variance):
        fitted = own.law({"log_variance": log_variance}, own.fit([images]))
        return fitted.log_prob(outputs, fitted.to_values(None, jnp.asarray(images[0])))

    squares = float((law.to_values(None, jnp.asarray(images[0])) ** 2).sum())
    expected = 0.5 * (squares * np.exp(-LOG_VARIANCE) - 12)  # d/dv of -1/2 sum (v + z^2 / e^v)
    np.testing.assert_allclose(jax.grad(total)(jnp.float32(LOG_VARIANCE)), expected, rtol=1e-4)


def test_vectors_are_refused(law):
    with pytest.raises(TypeError, match="8-bit pixels of dtype uint8 for likelihood whitened_gaussian, got float32"):
        law.to_values(None, jnp.zeros(SHAPE))


def test_laws_without_parameters_are_themselves():
    own = learned_likelihood("bernoulli")
    assert own.init(jax.random.key(0), (2, 2, 1)) == ({}, {})
    assert own.law({}, {}) is own.bare is LIKELIHOODS["bernoulli"]
    assert (own.num_outputs(3), own.fit) == (3, None)
    bare = LEARNED["whitened_gaussian"].bare
    assert (bare.name, bare.discrete, bare.num_outputs(3)) == ("whitened_gaussian", False, 3)
    with pytest.raises(
        ValueError, match="whitened_gaussian has parameters. Use the one of `LatentFunctions.likelihood"
    ):
        bare.mean(jnp.zeros((1, 1, 3)))
    with pytest.raises(UserError, match="expected one of bernoulli, .*, whitened_gaussian, got 'poisson'"):
        learned_likelihood("poisson")

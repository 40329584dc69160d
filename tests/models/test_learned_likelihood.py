"""A model whose likelihood has parameters of its own: its bounds, reconstructions and samples take them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from exflow.core.latents import diagonal_gaussian, trace
from exflow.core.latents.diagonal_gaussian import DiagonalGaussian
from exflow.core.latents.elements import EncodedElement
from exflow.core.latents.seeds import content_seeds
from exflow.core.likelihoods.learned import learned_likelihood
from exflow.evaluation.compiled import reconstruct
from exflow.model import LatentFunctions, Model
from exflow.models.independent_sets import sets_from_latents
from exflow.typing import Loss

pytestmark = pytest.mark.slow  # compiles a model of its own
SHAPE, DIM = (2, 2, 1), 4


def linear_gaussian_model():
    """One latent, a linear decoder in whitened space, and the exact posterior: the bound is the log density."""
    own = learned_likelihood("whitened_gaussian")

    def law(params):
        return own.law(params["likelihood"], params["statistics"])

    def init(key, batch):
        del batch
        learned, statistics = own.init(key, SHAPE)
        return {"decoder": jnp.asarray([[1.0, -0.5, 0.2, 2.0]]), "likelihood": learned, "statistics": statistics}

    def top_down(params, noise, mask, q):
        p = diagonal_gaussian.standard((*mask.shape, 1))
        z = trace.draw(noise, q or p, 0, trace.EXAMPLE)
        drawn = trace.TopDown((trace.Level(None, trace.Latent(z, p, q)),), z, None)
        return drawn, (z @ params["decoder"]).reshape(*mask.shape, *SHAPE)

    def infer(params, element_set, mask, key, set_latents=None, means=(), num_levels=None):
        variance = jnp.exp(params["likelihood"]["log_variance"])
        precision = 1.0 + (params["decoder"] ** 2).sum() / variance
        mean = element_set.features @ params["decoder"].T / variance / precision
        q = DiagonalGaussian(mean, jnp.broadcast_to(-jnp.log(precision), mean.shape))
        return top_down(params, trace.Noise(key, element_set.seed, mask, means), mask, q)

    def generate(params, key, shape, set_latents=None, means=(), num_levels=None):
        return top_down(params, trace.Noise(key, means=means), jnp.ones(shape, bool), None)

    def encode_values(params, values):
        flat = values.reshape(*values.shape[:-3], DIM)
        return EncodedElement(flat, values, content_seeds(flat.reshape(-1, DIM)).reshape(flat.shape[:-1]))

    def encode(params, key, x, context=None):
        return encode_values(params, law(params).to_values(key, x))

    latents = LatentFunctions(own.bare, encode_values, infer, generate, None, lambda params, state: [], 0, law=law)
    sets = sets_from_latents(latents)
    return Model(
        *("linear", SHAPE, init, lambda params, key, batch: Loss(0.0, {}), encode),
        sets=sets,
        latents=latents,
        fit_images=lambda params, images: {**params, "statistics": own.fit(images)},
    )


@pytest.fixture(scope="module")
def fitted():
    """The model, parameters fitted to images of another scale than 1, and the images."""
    rng = np.random.default_rng(0)
    images = np.clip(120 + rng.normal(size=(200, DIM)) @ rng.normal(0, 20, (DIM, DIM)), 0, 255).astype(np.uint8)
    images, model = images.reshape(200, *SHAPE), linear_gaussian_model()
    assert model.fit_images is not None
    return model, model.fit_images(model.init(jax.random.key(0), None), [images]), images


def moments(images):
    """Mean of dequantised pixels and the root of their covariance, the inverse of which whitens."""
    flat = images.reshape(-1, DIM)
    size, axes = np.linalg.eigh(np.cov(flat.T, bias=True) + np.eye(DIM) / 12)
    return flat.mean(axis=0) + 0.5, axes * np.sqrt(size + 1e-5) @ axes.T


def test_bounds_are_those_of_the_fitted_law(fitted):
    model, params, images = fitted
    (mean, root), decoder = moments(images), np.asarray(params["decoder"])
    covariance = root @ (decoder.T @ decoder + np.e * np.eye(DIM)) @ root  # the initial log-variance is 1
    expected = stats.multivariate_normal(mean, covariance).logpdf(images[:6].reshape(6, DIM) + 0.5)
    elements = model.encode(params, None, jnp.asarray(images[:6]))
    log_probs = model.sets.log_prob(params, jnp.zeros(6, jnp.int32), elements, 2)  # each importance weight is exact
    np.testing.assert_allclose(log_probs, expected, rtol=1e-4)


def test_pictures_are_in_pixels(fitted):
    model, params, images = fitted
    (mean, root), decoder = moments(images), np.asarray(params["decoder"])
    drawn = model.sets.sample(params, jnp.zeros((), jnp.int32), jax.random.key(1), 400)
    assert (drawn.shape, drawn.dtype) == ((400, *SHAPE), jnp.uint8)
    assert abs(np.asarray(drawn).mean() - images.mean()) < 10  # of standard deviations about 40
    elements = model.encode(params, None, jnp.asarray(images[None, :5]))
    shown = reconstruct(model, params, elements, jnp.ones((1, 5), bool))
    assert shown.dtype == jnp.uint8
    z = (
        (images[:5].reshape(5, DIM) + 0.5 - mean)
        @ np.linalg.inv(root)
        @ decoder.T
        / np.e
        / (1 + (decoder**2).sum() / np.e)
    )  # posterior means
    expected = mean + z @ decoder @ root
    np.testing.assert_array_equal(np.asarray(shown).reshape(5, DIM), np.floor(np.clip(expected, 0, 255)))

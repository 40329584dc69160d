"""What whitening is fitted to, in chunks; its other properties are those of the registry of bijectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core.bijectors import whitening
from exflow.errors import UserError


def correlated(number):
    rng = np.random.default_rng(1)
    return np.clip(100 + rng.normal(size=(number, 8)) @ rng.normal(0, 15, (8, 8)), 0, 255).astype(np.uint8)


def test_noisy_training_images_become_white():
    """Many draws of the noise, whose moments the fit adds in closed form: z has mean 0 and covariance 1."""
    images = correlated(50)
    fitted = whitening.fit_whitening([images.reshape(50, 2, 2, 2)])
    x = images[None] + np.random.default_rng(2).random((4000, 50, 8))
    z = np.asarray(whitening.whiten(fitted, jnp.asarray(x.reshape(-1, 8), jnp.float32)), np.float64)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=0.01)
    np.testing.assert_allclose(z.T @ z / len(z), np.eye(8), atol=0.01)


def test_the_map_is_the_symmetric_root_and_chunks_do_not_matter(x64):
    images = correlated(50)
    fitted = whitening.fit_whitening([images])
    covariance = np.cov(images.T, bias=True) + np.eye(8) / 12
    matrix = np.asarray(whitening.whiten(fitted, jnp.asarray(fitted.mean)[None] + jnp.eye(8)))
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
    np.testing.assert_allclose(matrix @ covariance @ matrix, np.eye(8), atol=1e-4)
    np.testing.assert_allclose(whitening.log_det(fitted), np.linalg.slogdet(matrix)[1], rtol=1e-5)
    for part, same in zip(whitening.fit_whitening([images[:7], images[7:8], images[8:]]), fitted, strict=True):
        np.testing.assert_array_equal(part, same)


def test_constant_pixels_and_fewer_images_than_pixels_are_no_trouble():
    images = np.full((3, 8), 7, np.uint8)
    images[:, 0] = (0, 100, 200)
    fitted = whitening.fit_whitening([images])
    np.testing.assert_allclose(np.sort(fitted.scales)[1:], 1 / np.sqrt(1 / 12 + 1e-5), rtol=1e-6)
    assert np.isfinite(whitening.log_det(fitted))
    with pytest.raises(UserError, match="whitening: expected at least 2 training images, got 1"):
        whitening.fit_whitening([images[:1]])


def test_init_is_the_identity():
    bijector, x = whitening.linear_whiten(), jnp.arange(12.0).reshape(2, 3, 2)
    z, log_det = bijector.forward(bijector.init(jax.random.key(0), x), x)
    np.testing.assert_array_equal(z, x)
    np.testing.assert_array_equal(log_det, 0.0)

"""Diagonal Gaussians against scipy and Monte Carlo."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from exflow.core.latents import diagonal_gaussian
from exflow.core.latents.diagonal_gaussian import DiagonalGaussian


def pair():
    rng = np.random.default_rng(0)
    return tuple(DiagonalGaussian(*(jnp.asarray(rng.normal(size=(3, 4))) for _ in range(2))) for _ in range(2))


def test_log_prob_is_that_of_scipy(x64):
    dist, _ = pair()
    z = np.random.default_rng(1).normal(size=(3, 4))
    expected = stats.norm.logpdf(z, dist.mean, np.exp(0.5 * np.asarray(dist.log_variance)))
    np.testing.assert_allclose(diagonal_gaussian.log_prob(dist, jnp.asarray(z)), expected, rtol=1e-12)


def test_kl_divergence_is_the_mean_log_ratio(x64):
    q, p = pair()
    number = 100_000
    z = diagonal_gaussian.from_noise(
        DiagonalGaussian(q.mean[None], q.log_variance[None]), jax.random.normal(jax.random.key(0), (number, 3, 4))
    )
    lifted = [DiagonalGaussian(d.mean[None], d.log_variance[None]) for d in (q, p)]
    ratio = diagonal_gaussian.log_prob(lifted[0], z) - diagonal_gaussian.log_prob(lifted[1], z)
    error = ratio.std(axis=0) / np.sqrt(number)
    assert (np.abs(ratio.mean(axis=0) - diagonal_gaussian.kl_divergence(q, p)) < 5 * error).all()


def test_kl_divergence_is_the_integral_of_the_log_ratio(x64):
    """By quadrature, which is exact for the squares in it."""
    q, p = pair()
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    z = np.asarray(q.mean) + np.exp(0.5 * np.asarray(q.log_variance)) * nodes[:, None, None]
    log_ratio = sum(
        sign * stats.norm.logpdf(z, d.mean, np.exp(0.5 * np.asarray(d.log_variance))) for sign, d in ((1, q), (-1, p))
    )
    expected = np.tensordot(weights / weights.sum(), log_ratio, axes=1)
    np.testing.assert_allclose(diagonal_gaussian.kl_divergence(q, p), expected, rtol=1e-11)


def test_kl_divergence_vanishes_only_between_equals(x64):
    q, p = pair()
    np.testing.assert_array_equal(diagonal_gaussian.kl_divergence(q, q), 0.0)
    assert (diagonal_gaussian.kl_divergence(q, p) > 0).all()


def test_kl_divergence_of_close_gaussians_keeps_its_digits():
    q = DiagonalGaussian(jnp.float32(1.0), jnp.float32(1e-3))
    np.testing.assert_allclose(
        diagonal_gaussian.kl_divergence(q, DiagonalGaussian(q.mean, jnp.float32(0.0))), 2.5e-7, rtol=2e-3
    )


def test_from_moments_halves_the_channels():
    dist = diagonal_gaussian.from_moments(jnp.arange(6.0)[None])
    np.testing.assert_array_equal(dist.mean, [[0, 1, 2]])
    np.testing.assert_array_equal(dist.log_variance, [[3, 4, 5]])
    bounded = diagonal_gaussian.from_moments(jnp.asarray([[50.0, 0.5, 50.0, -1e9]]), bound=4.0)
    np.testing.assert_array_equal(bounded.mean, [[50.0, 0.5]])
    np.testing.assert_allclose(bounded.log_variance, [[4.0, -4.0]], rtol=1e-6)

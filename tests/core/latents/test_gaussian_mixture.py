"""Mixture priors against scipy, Bayes' rule by hand, quadrature and Monte Carlo."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from exflow.core.latents import diagonal_gaussian, gaussian_mixture
from exflow.core.latents.diagonal_gaussian import DiagonalGaussian
from exflow.core.latents.gaussian_mixture import GaussianMixture

K, DIM = 5, 3


def mixture(scale=1.5, components=K, dim=DIM):
    rng = np.random.default_rng(0)
    return GaussianMixture(*(jnp.asarray(scale * rng.normal(size=(components, dim))) for _ in range(2)))


def by_scipy(p, z):
    """Log densities of z [..., dim] under every component, [..., K]."""
    laws = [
        stats.multivariate_normal(np.asarray(mean), np.diag(np.exp(log_variance)))
        for mean, log_variance in zip(p.means, np.asarray(p.log_variances), strict=True)
    ]
    return np.stack([law.logpdf(z) for law in laws], axis=-1)


def test_density_and_posterior_of_components(x64):
    p, z = mixture(), np.random.default_rng(1).normal(size=(2, 4, DIM))
    each = by_scipy(p, z)
    expected = special.logsumexp(each, axis=-1) - np.log(K)
    np.testing.assert_allclose(jax.jit(gaussian_mixture.log_prob)(p, jnp.asarray(z)), expected, rtol=1e-12)
    posterior = np.exp(each) / np.exp(each).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(jax.jit(gaussian_mixture.responsibilities)(p, jnp.asarray(z)), posterior, rtol=1e-10)
    entropy = stats.entropy(posterior, axis=-1)
    np.testing.assert_allclose(jax.jit(gaussian_mixture.posterior_entropy)(p, jnp.asarray(z)), entropy, rtol=1e-10)


def test_entropy_is_finite_with_gradients_at_its_extremes(x64):
    equal = GaussianMixture(jnp.zeros((K, DIM)), jnp.zeros((K, DIM)))
    far = equal._replace(means=1e3 * jnp.arange(K * 1.0)[:, None] * jnp.ones((1, DIM)))
    z = jnp.zeros(DIM)
    np.testing.assert_allclose(gaussian_mixture.posterior_entropy(equal, z), np.log(K), rtol=1e-12)
    value, gradient = jax.jit(jax.value_and_grad(lambda p: gaussian_mixture.posterior_entropy(p, z)))(far)
    assert value == 0.0
    assert all(np.isfinite(part).all() for part in gradient)


@pytest.mark.slow
def test_samples_have_the_moments_of_the_mixture(x64):
    p, number = mixture(), 40_000
    z = np.asarray(jax.jit(gaussian_mixture.sample, static_argnums=2)(jax.random.key(0), p, (number,)))
    mean = np.asarray(p.means).mean(axis=0)
    second = (np.asarray(p.means) ** 2 + np.exp(p.log_variances)).mean(axis=0)
    for power, expected in ((1, mean), (2, second)):
        error = (z**power).std(axis=0) / np.sqrt(number)
        assert (np.abs((z**power).mean(axis=0) - expected) < 5 * error).all()
    # Entries of one draw are of one component: the covariances of the mixture of means
    covariance = np.cov(np.asarray(p.means).T, bias=True)[0, 1]
    products = (z[:, 0] - mean[0]) * (z[:, 1] - mean[1])
    assert abs(products.mean() - covariance) < 5 * products.std() / np.sqrt(number)


def test_divergences(x64):
    """In one dimension, against quadrature: the estimate has the mean, and the surrogate is an upper bound."""
    p = GaussianMixture(jnp.asarray([[-1.0], [0.5], [2.0]]), jnp.asarray([[-1.0], [0.3], [-0.5]]))
    q = DiagonalGaussian(jnp.asarray([0.3]), jnp.asarray([-0.8]))

    def integrand(z):
        log_q = stats.norm.logpdf(z, 0.3, np.exp(-0.4))
        return np.exp(log_q) * (log_q - special.logsumexp(by_scipy(p, np.array([z]))) + np.log(3))

    exact = integrate.quad(integrand, -8, 8, epsabs=1e-12)[0]
    z = diagonal_gaussian.sample(jax.random.key(1), DiagonalGaussian(*(jnp.tile(part, (20_000, 1)) for part in q)))
    draws = jax.jit(gaussian_mixture.kl_estimate)(DiagonalGaussian(q.mean[None], q.log_variance[None]), p, z)
    assert abs(draws.mean() - exact) < 5 * draws.std() / np.sqrt(len(z))
    divergences = 0.5 * (
        np.exp(-0.8 - p.log_variances) + (0.3 - p.means) ** 2 / np.exp(p.log_variances) - 1 + p.log_variances + 0.8
    )
    surrogate = float(jax.jit(gaussian_mixture.kl_surrogate)(q, p))
    np.testing.assert_allclose(surrogate, -np.log(np.exp(-divergences).mean()), rtol=1e-12)
    assert exact < surrogate < exact + 0.5


@pytest.mark.parametrize("apart", [0.0, 200.0])
def test_surrogate_is_the_divergence_where_components_are_equal_or_far_apart(apart, x64):
    means = jnp.asarray([[0.2, -0.4], [0.2 + apart, -0.4]])
    p = GaussianMixture(means, jnp.full((2, 2), -0.3))
    q = DiagonalGaussian(jnp.asarray([[0.1, 0.2]]), jnp.asarray([[-1.0, 0.4]]))
    one = diagonal_gaussian.kl_divergence(q, DiagonalGaussian(means[:1], p.log_variances[:1])).sum()
    expected = one if apart == 0.0 else one + np.log(2)
    np.testing.assert_allclose(jax.jit(gaussian_mixture.kl_surrogate)(q, p), [expected], rtol=1e-12)


def test_standard_entries_are_standard_and_get_no_gradient(x64):
    z = jnp.asarray(np.random.default_rng(2).normal(size=(6, DIM)))

    def total(p):
        return gaussian_mixture.log_prob(gaussian_mixture.with_standard(p, 2), z).sum()

    rest = GaussianMixture(*(part[:, 2:] for part in mixture()))
    expected = stats.norm.logpdf(z[:, :2]).sum() + jax.jit(gaussian_mixture.log_prob)(rest, z[:, 2:]).sum()
    value, gradient = jax.jit(jax.value_and_grad(total))(mixture())
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    for part in gradient:
        np.testing.assert_array_equal(part[:, :2], 0.0)
        assert (part[:, 2:] != 0.0).all()


def test_initial_parameters_spread_by_a_tenth():
    p = gaussian_mixture.init(jax.random.key(0), 50, 200)
    assert p.means.shape == p.log_variances.shape == (50, 200)
    assert all(abs(part.std() - 0.1) < 5 * 0.1 / np.sqrt(2 * part.size) for part in p)
    assert abs((p.means * p.log_variances).mean()) < 5 * 0.01 / 100

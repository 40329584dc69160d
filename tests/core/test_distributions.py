"""Elementwise densities against scipy in float64, and their float32 accuracy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from exflow.core import distributions

log_evidence_ratio = jax.jit(distributions.log_evidence_ratio)
log_gamma_ratio_correction = jax.jit(distributions.log_gamma_ratio_correction)
normal_log_prob = jax.jit(distributions.normal_log_prob)
student_t_log_prob = jax.jit(distributions.student_t_log_prob)
student_t_predictive_log_prob = jax.jit(distributions.student_t_predictive_log_prob)
DERIVATIVE = jax.jit(jax.grad(distributions.log_gamma_ratio_correction))
HALF_DEGREES = np.concatenate([np.linspace(0.05, 12, 400), 10.0 ** np.arange(1, 5)])


def exact_correction(h: np.ndarray) -> np.ndarray:
    return special.gammaln(h + 0.5) - special.gammaln(h) - 0.5 * np.log(h)


def test_log_gamma_ratio(x64):
    np.testing.assert_allclose(
        log_gamma_ratio_correction(jnp.asarray(HALF_DEGREES)), exact_correction(HALF_DEGREES), atol=3e-12, rtol=0
    )
    small = np.linspace(1, 9, 200)  # here gammaln itself has 14 digits
    np.testing.assert_allclose(log_gamma_ratio_correction(jnp.asarray(small)), exact_correction(small), atol=4e-14)


@pytest.mark.parametrize("h", [0.3, 1.0, 3.7, 7.999, 8.001, 50.0, 1e4])
def test_log_gamma_ratio_derivative(x64, h):
    """The hand-written derivative against the digamma function."""
    expected = special.digamma(h + 0.5) - special.digamma(h) - 0.5 / h
    np.testing.assert_allclose(DERIVATIVE(jnp.asarray(h)), expected, rtol=1e-7, atol=1e-14)


def test_log_gamma_ratio_in_float32_is_accurate_where_gammaln_is_not():
    h = np.array([1.0, 2.0, 7.9, 8.0, 30.0, 500.0, 1e4, 1e6], np.float32)
    exact = exact_correction(h.astype(np.float64))
    exact[-1] = -1 / (8e6)  # leading term; gammaln in float64 has fewer digits here
    np.testing.assert_allclose(log_gamma_ratio_correction(jnp.asarray(h)), exact, atol=2e-7)


def test_densities_equal_scipy(x64):
    rng = np.random.default_rng(0)
    x, variance, nu = rng.normal(size=50) * 5, 10 ** rng.uniform(-2, 2, 50), 2 + 10 ** rng.uniform(-2, 4, 50)
    normal = normal_log_prob(jnp.asarray(x**2), jnp.asarray(variance))
    np.testing.assert_allclose(normal, stats.norm(0, np.sqrt(variance)).logpdf(x), rtol=1e-12)
    student = student_t_log_prob(jnp.asarray(x**2), jnp.asarray(variance), jnp.asarray(nu - 2))
    scale = np.sqrt(variance * (nu - 2) / nu)
    np.testing.assert_allclose(student, stats.t(nu, 0, scale).logpdf(x), rtol=1e-10)


@pytest.mark.parametrize("excess", [1e6, 1e12, 1e30])
def test_student_t_becomes_gaussian_in_float32(excess):
    """784 equal dimensions, so that errors add up; plain gammaln in float32 loses 48 nats at 1e6."""
    squared = jnp.full(784, 1.3**2)
    args = (squared, jnp.ones(784), jnp.full(784, excess))
    difference = np.float64(student_t_log_prob(*args)) - np.float64(normal_log_prob(squared, jnp.ones(784)))
    exact = stats.t(excess + 2, 0, np.sqrt(excess / (excess + 2))).logpdf(1.3) - stats.norm.logpdf(1.3)
    exact = exact if excess == 1e6 else 0.0  # -1.1e-6; scipy itself loses the larger ones
    np.testing.assert_allclose(difference.sum(), 784 * exact, atol=784 * 2.5e-7)  # two units in the last place of 1.8
    grads = jax.jit(jax.grad(lambda *args: distributions.student_t_log_prob(*args).sum(), argnums=(0, 1, 2)))(*args)
    assert all(np.isfinite(grad).all() for grad in grads)


def test_log_evidence_ratio(x64):
    """ln of the two joint densities of a set, whose determinants cancel; nu from 2.0001, n to 200, beta far from n."""
    rng = np.random.default_rng(0)
    excess, count = 10 ** rng.uniform(-4, 3, 500), rng.integers(0, 200, 500).astype(float)
    beta = count * 10 ** rng.uniform(-2, 1, 500)
    nu, n = excess + 2, count
    student_t = special.gammaln((nu + n) / 2) - special.gammaln(nu / 2) - 0.5 * n * np.log(np.pi)
    student_t += 0.5 * nu * np.log(excess) - 0.5 * (nu + n) * np.log(excess + beta)
    gaussian = -0.5 * (n * np.log(2 * np.pi) + beta)
    ratio = log_evidence_ratio(*(jnp.asarray(value) for value in (excess, count, beta)))
    np.testing.assert_allclose(ratio, student_t - gaussian, atol=1e-10, rtol=1e-10)
    np.testing.assert_array_equal(np.asarray(ratio)[count == 0], 0.0)


def test_log_evidence_ratio_in_float32():
    """Within the error that float32 leaves in beta, for large nu and n too, where gammaln has no digits left."""
    rng = np.random.default_rng(1)
    excess, count = np.float32(10 ** rng.uniform(-2, 20, 500)), np.float32(10 ** rng.uniform(0, 6, 500)).round()
    beta = np.float32(count + 3 * np.sqrt(count) * rng.normal(size=500)).clip(0)
    with jax.enable_x64(True):
        exact = np.asarray(log_evidence_ratio(*(jnp.asarray(np.float64(value)) for value in (excess, count, beta))))
    ratio = np.float64(log_evidence_ratio(*(jnp.asarray(value) for value in (excess, count, beta))))
    np.testing.assert_array_less(abs(ratio - exact), 5e-6 + 2e-7 * abs(beta - count))


def test_derivatives_where_two_forms_meet(x64):
    """At half = 8, where a series begins, and at b = a / 2: the densities are smooth, so both sides agree."""
    x = jnp.asarray(1.7)
    for excess, count, beta in ((8.0, 6.0, 5.0), (14.0, 0.0, 0.0), (4.0, 4.0, 1.0), (2.0, 2.0, 1.0)):
        for function in (
            lambda nu, n=count, b=beta: log_evidence_ratio(nu, jnp.asarray(n), jnp.asarray(b)),
            lambda nu, n=count, b=beta: student_t_predictive_log_prob(x, x, nu, jnp.asarray(n), jnp.asarray(b)),
        ):
            numeric = (function(jnp.asarray(excess + 1e-5)) - function(jnp.asarray(excess - 1e-5))) / 2e-5
            np.testing.assert_allclose(jax.grad(function)(jnp.asarray(excess)), numeric, rtol=1e-6, atol=1e-9)

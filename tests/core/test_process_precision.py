"""Accuracy of the processes in float32 for sets of up to a million elements, and long sets in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from tests.core.process_cases import Moments, exchangeable_matrix
from tests.core.registry import COMPILED, INDEPENDENT, PROCESSES

NU = 1000.0


def exact_log_probs(z: np.ndarray, correlation: float, name: str) -> np.ndarray:
    """Closed form in float64 numpy for v = 1, mu = 0 and one dimension: log p(z_n | z_<n), z [n]."""
    z = np.float64(z)
    within, count = 1 - correlation, np.arange(len(z))
    tau = 1 / (count + (1 - correlation) / correlation)
    before = np.concatenate([[0.0], np.cumsum(z)[:-1]])
    variance = within * (1 + tau)
    q = (z - tau * before) ** 2 / variance
    gaussian = -0.5 * (np.log(2 * np.pi * variance) + q)
    b = NU - 2 + np.concatenate([[0.0], np.cumsum(q)[:-1]])
    ratio = special.gammaln((NU + count + 1) / 2) - special.gammaln((NU + count) / 2)
    student_t = ratio - 0.5 * np.log(np.pi * variance * b) - 0.5 * (NU + count + 1) * np.log1p(q / b)
    odds = np.concatenate([[0.0], np.cumsum(student_t - gaussian)[:-1]])  # equal prior weights, where there are two
    mixture = np.logaddexp(gaussian - np.logaddexp(0, odds), student_t - np.logaddexp(0, -odds))
    return {"gaussian_process": gaussian, "student_t_process": student_t, "mixture_process": mixture}[name]


def one_dimensional(name: str, correlation: float):
    """Float32 parameters whose correlation is exactly the float32 number used by the oracle."""
    correlation = float(np.float32(correlation))
    return params_of(name, (0.0, 1.0, correlation, NU), jnp.float32), correlation


def params_of(name: str, values: tuple[float, float, float, float], dtype, dim: int = 1):
    """Mean, variance, covariance and nu; equal weights where there are two components."""
    moments = Moments(*(np.full(dim, value) for value in (*values, 0.5)), factor=np.zeros((dim, 0)))
    return PROCESSES[name].params(moments, dtype)


@functools.cache
def stream(length: int, correlation: float) -> np.ndarray:
    rng = np.random.default_rng(length)
    return np.float32(np.sqrt(correlation) * rng.normal() + np.sqrt(1 - correlation) * rng.normal(size=length))


# the right column of the table; gammaln of the oracle itself is good to 1e-9 at 1e6
CASES = [(1000, 0.001, 9e-7), (1000, 0.5, 9e-7), (100_000, 0.9999, 1e-4)]


@pytest.mark.parametrize("form", ["log_prob_recurrent", "log_prob_parallel"])
@pytest.mark.parametrize(("length", "correlation", "tolerance"), CASES)
@pytest.mark.parametrize("name", INDEPENDENT)
def test_float32_log_densities(name, length, correlation, tolerance, form):
    params, correlation = one_dimensional(name, correlation)
    z = stream(length, correlation)
    log_probs = getattr(COMPILED[name], form)(params, jnp.asarray(z)[:, None])
    exact = exact_log_probs(z, correlation, name)
    error = abs(np.float64(log_probs) - exact) / np.maximum(1.0, abs(exact))
    assert error.max() < tolerance


def million(name: str, correlation: float) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Errors of the streamed log densities and of the final mean; the data; the final state's mean."""
    params, correlation = one_dimensional(name, correlation)
    z = stream(1_000_000, correlation)
    module = PROCESSES[name].module

    @jax.jit
    def run(z):
        def step(state, z):
            return module.update(params, state, z[None]), module.predictive_log_prob(params, state, z[None])

        state, log_probs = jax.lax.scan(step, module.init_state(params), z)
        return module.predictive(params, state), state, log_probs

    predictive, state, log_probs = run(jnp.asarray(z))
    exact = exact_log_probs(z, correlation, name)
    assert int(state.count) == 1_000_000
    tau = 1 / (1_000_000 + (1 - correlation) / correlation)
    mean_error = abs(float(predictive.mean[0]) - tau * np.float64(z).sum())
    return abs(np.float64(log_probs) - exact), exact, mean_error, z


@pytest.mark.parametrize(("correlation", "gaussian", "student_t"), [(0.5, 2.4e-6, 5e-6), (0.9999, 1.7e-4, 1.7e-4)])
@pytest.mark.parametrize("name", INDEPENDENT)
def test_a_million_elements_streamed_in_float32(name, correlation, gaussian, student_t):
    errors, exact, mean_error, z = million(name, correlation)
    tolerance = student_t if PROCESSES[name].has_degrees_of_freedom else gaussian
    assert (errors / np.maximum(1.0, abs(exact))).max() < tolerance
    assert mean_error < 5e-7 * max(1.0, abs(np.float64(z).mean()))


@pytest.mark.parametrize("name", INDEPENDENT)
def test_a_million_elements_at_once_in_float32(name):
    """update_set and log_prob_parallel sum in trees; the state of a set equals the float64 mean and scatter."""
    params, correlation = one_dimensional(name, 0.5)
    z = stream(1_000_000, correlation) + np.float32(3.0)
    state = COMPILED[name].update_set(params, PROCESSES[name].module.init_state(params), jnp.asarray(z)[:, None])
    exact = np.float64(z)
    np.testing.assert_allclose(np.float64(state.mean.value) + np.float64(state.mean.low), exact.mean(), rtol=1e-7)
    if state.scatter is not None:
        np.testing.assert_allclose(state.scatter.value, len(z) * exact.var(), rtol=1e-6)
    log_probs = np.float64(COMPILED[name].log_prob_parallel(params, jnp.asarray(z)[:, None]))
    expected = exact_log_probs(z, correlation, name)
    np.testing.assert_allclose(log_probs, expected, atol=5e-6, rtol=2e-6)


def test_quadratic_form_stays_accurate_in_float32():
    """beta at n = 1e5, c = 0.9999, streamed one element at a time: relative error below 5e-6 (the original: 0.5).

    It shows in the predictive variance of the Student-t process.
    """
    name = "student_t_process"
    params, correlation = one_dimensional(name, 0.9999)
    z = stream(100_000, correlation)
    module = PROCESSES[name].module

    def update(state, z):
        return module.update(params, state, z[None]), None

    state, _ = jax.jit(lambda z: jax.lax.scan(update, module.init_state(params), z))(jnp.asarray(z))
    n, exact = len(z), np.float64(z)
    beta = n * exact.var() / (1 - correlation) + n * exact.mean() ** 2 / (1 + (n - 1) * correlation)
    predictive = module.predictive(params, state)
    gaussian = (1 - correlation) * (1 + 1 / (n + (1 - correlation) / correlation))
    np.testing.assert_allclose(np.float64(predictive.variance[0]) / gaussian * (NU + n - 2), NU - 2 + beta, rtol=5e-6)


@pytest.mark.parametrize("form", ["log_prob_recurrent", "log_prob_parallel"])
@pytest.mark.parametrize("name", INDEPENDENT)
def test_sets_far_from_the_origin_keep_their_digits(name, form):
    """Spec 1.6 rule 6: |mean of the set| >> sqrt(v - rho); data exact in float32, so only arithmetic can err."""
    dim = 1
    z = np.float32(4096 + np.round(np.random.default_rng(0).normal(size=(200, dim)) * 32) / 32)
    values = (0.0, 1e6, 1e6 - 1.0, NU)
    params = params_of(name, values, jnp.float32, dim)
    log_probs = getattr(COMPILED[name], form)(params, jnp.asarray(z))
    with jax.enable_x64(True):
        exact = COMPILED[name].log_prob_parallel(params_of(name, values, jnp.float64, dim), jnp.asarray(np.float64(z)))
    np.testing.assert_allclose(log_probs, exact, atol=1e-4)


@pytest.mark.parametrize("name", INDEPENDENT)
def test_removal_and_merge_in_float32(name):
    params, correlation = one_dimensional(name, 0.95)
    z = stream(1000, correlation)[:, None]
    process = COMPILED[name]
    empty = PROCESSES[name].module.init_state(params)
    first = process.update_set(params, empty, jnp.asarray(z[:500]))
    second = process.update_set(params, empty, jnp.asarray(z[500:]))
    both = process.merge(params, first, second)
    removed = both
    for n in range(500, 600):
        removed = process.remove(params, removed, jnp.asarray(z[n]))
    expected = process.update_set(params, empty, jnp.asarray(np.concatenate([z[:500], z[600:]])))
    query = jnp.array([0.3])
    for one, other in ((removed, expected), (both, process.update_set(params, empty, jnp.asarray(z)))):
        np.testing.assert_allclose(one.mean.value, other.mean.value, rtol=1e-6)
        if one.scatter is not None:
            np.testing.assert_allclose(one.scatter.value, other.scatter.value, rtol=1e-6)
        np.testing.assert_allclose(
            process.predictive_log_prob(params, one, query),
            process.predictive_log_prob(params, other, query),
            rtol=1e-5,
        )


@pytest.mark.parametrize("form", ["log_prob_recurrent", "log_prob_parallel"])
@pytest.mark.parametrize("name", INDEPENDENT)
def test_ten_thousand_elements_in_float64(x64, name, form):
    """Against the determinant and quadratic form of the 1e4 x 1e4 matrix by its two eigenvalues, and permuted."""
    n, correlation, nu = 10_000, 0.7, 7.0
    rng = np.random.default_rng(0)
    z = 0.5 + np.sqrt(correlation) * rng.normal() + np.sqrt(1 - correlation) * rng.normal(size=n)
    params = params_of(name, (0.2, 1.0, correlation, nu), jnp.float64)
    common = 1 + (n - 1) * correlation
    log_det = (n - 1) * np.log(1 - correlation) + np.log(common)
    beta = n * z.var() / (1 - correlation) + n * (z.mean() - 0.2) ** 2 / common
    gaussian = -0.5 * (n * np.log(2 * np.pi) + log_det + beta)
    student_t = special.gammaln((nu + n) / 2) - special.gammaln(nu / 2) - 0.5 * n * np.log(np.pi) - 0.5 * log_det
    student_t += 0.5 * nu * np.log(nu - 2) - 0.5 * (nu + n) * np.log(nu - 2 + beta)
    weights = PROCESSES[name].log_weights(0.5)
    expected = np.logaddexp(weights[0] + gaussian, weights[1] + student_t)
    log_probs = getattr(COMPILED[name], form)
    np.testing.assert_allclose(log_probs(params, jnp.asarray(z)[:, None]).sum(), expected, rtol=1e-11)
    np.testing.assert_allclose(log_probs(params, jnp.asarray(rng.permutation(z))[:, None]).sum(), expected, rtol=1e-11)


def test_the_two_eigenvalues_are_right():
    """The oracle above: determinant and quadratic form against the dense matrix, n = 6."""
    matrix, z = exchangeable_matrix(6, 1.0, 0.7), np.random.default_rng(0).normal(size=6)
    np.testing.assert_allclose(np.linalg.slogdet(matrix)[1], 5 * np.log(0.3) + np.log(4.5), rtol=1e-12)
    beta = 6 * z.var() / 0.3 + 6 * z.mean() ** 2 / 4.5
    np.testing.assert_allclose(z @ np.linalg.solve(matrix, z), beta, rtol=1e-12)

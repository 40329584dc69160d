"""What only the low-rank process has: factors, their limits, accuracy in float32 and the fit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from exflow.core import gaussian_process, low_rank_process
from exflow.core.low_rank_factors import factorise
from tests.core.process_cases import Moments, random_moments, random_set
from tests.core.registry import COMPILED, PROCESSES

pytestmark = pytest.mark.slow  # many compilations

CASE = PROCESSES["low_rank_process"]
INDEPENDENT, LOW_RANK = COMPILED["gaussian_process"], COMPILED["low_rank_process"]
FIT_INDEPENDENT = jax.jit(gaussian_process.fit)
FIT_LOW_RANK = jax.jit(functools.partial(low_rank_process.fit, rank=4))


def large(seed: int = 0, dim: int = 40, rank: int = 6, strength: float = 1.0) -> Moments:
    """Parameters whose factors carry as much variance as everything else."""
    rng = np.random.default_rng(seed)
    moments = random_moments(rng, dim, max_correlation=0.9)
    factor = strength * np.sqrt(moments.variance - moments.covariance)[:, None] * rng.normal(size=(dim, rank))
    return moments._replace(factor=factor)


def draw(rng: np.random.Generator, moments: Moments, num_sets: int, size: int) -> np.ndarray:
    """Sets of the process itself, [num_sets, size, dim]."""
    shared = rng.normal(size=(num_sets, 1, moments.factor.shape[1])) @ moments.factor.T
    return shared + random_set(rng, moments, (num_sets, size))


@pytest.mark.parametrize("rank", [0, 2])
def test_without_factors_it_is_the_gaussian_process(x64, rank):
    moments = random_moments(np.random.default_rng(0), 5)
    location = [jnp.asarray(value) for value in moments[:3]]
    gaussian = gaussian_process.from_moments(*location)
    params = low_rank_process.from_moments(*location, jnp.zeros((5, rank)))
    z = jnp.asarray(random_set(np.random.default_rng(1), moments, (3, 4)))
    for name in ("log_prob_parallel", "log_prob_recurrent", "leave_one_out_log_prob"):
        expected = getattr(INDEPENDENT, name)(gaussian, z)
        np.testing.assert_allclose(getattr(LOW_RANK, name)(params, z), expected, rtol=1e-11)
    states = INDEPENDENT.update_set(gaussian, gaussian_process.init_state(gaussian), z)
    expected = INDEPENDENT.class_log_probs(gaussian, states, z[0])
    np.testing.assert_allclose(LOW_RANK.class_log_probs(params, states, z[0]), expected, rtol=1e-11)
    assert LOW_RANK.sample_joint(params, states, jax.random.key(0), 2).shape == (2, 3, 5)


def test_de_finetti(x64):
    """Given the factor the dimensions are independent Gaussian processes: the integral over it is the joint."""
    moments = random_moments(np.random.default_rng(2), 3, max_correlation=0.9)
    moments = moments._replace(factor=moments.factor[:, :1])
    z = jnp.asarray(random_set(np.random.default_rng(3), moments, (4,)))
    f = np.linspace(-9, 9, 2001)
    variance, covariance = (jnp.asarray(value) for value in moments[1:3])

    def given(mean):
        return gaussian_process.log_prob(gaussian_process.from_moments(mean, variance, covariance), z).sum()

    log_probs = jax.jit(jax.vmap(given))(jnp.asarray(moments.mean + f[:, None] * moments.factor[:, 0]))
    integral = (np.exp(log_probs) * stats.norm.pdf(f)).sum() * (f[1] - f[0])
    np.testing.assert_allclose(LOW_RANK.log_prob(CASE.params(moments), z).sum(), np.log(integral), rtol=1e-10)


@pytest.mark.parametrize("size", [0, 3])
def test_predictive_covariance_matrix(x64, size):
    moments = large(dim=6, rank=2)
    z = random_set(np.random.default_rng(4), moments, (size,))
    params = CASE.params(moments)
    state = LOW_RANK.update_set(params, low_rank_process.init_state(params), jnp.asarray(z))
    _, variance, factor = LOW_RANK.predictive(params, state)
    matrix = np.diag(variance - (factor**2).sum(-1)) + factor @ factor.T
    np.testing.assert_allclose(matrix, CASE.cross_covariance(moments, z), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("strength", [0.3, 5.0])
def test_float32(strength):
    """Many dimensions, strong factors: errors against the same formulas in float64 stay at rounding."""
    moments = Moments(*(np.float32(value) for value in large(strength=strength)))
    z = np.float32(draw(np.random.default_rng(5), moments, 4, 12))
    results = {}
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype == np.float64):
            params, z_set = CASE.params(moments, dtype), jnp.asarray(z, dtype)
            states = LOW_RANK.update_set(params, low_rank_process.init_state(params), z_set[:, :4])
            results[dtype] = [
                LOW_RANK.log_prob_recurrent(params, z_set),
                LOW_RANK.log_prob_parallel(params, z_set),
                LOW_RANK.leave_one_out_log_prob(params, z_set),
                LOW_RANK.class_log_probs(params, states, z_set[:, 4:].reshape(32, -1)),
            ]
    for one, exact in zip(*results.values(), strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_allclose(one, exact, rtol=2e-5, atol=1e-3)


def test_start_is_nearly_the_gaussian_process():
    """The small loading at the start gets a gradient and costs less than a hundredth of a nat per dimension."""
    dim = 50
    raw = low_rank_process.init_raw(dim, rank=4)
    z = jax.random.normal(jax.random.key(1), (10, 6, dim))

    @jax.jit
    @jax.value_and_grad
    def joint(raw):
        return low_rank_process.log_prob(low_rank_process.constrain(raw), z).mean()

    value, grads = joint(raw)
    independent = INDEPENDENT.log_prob(gaussian_process.constrain(gaussian_process.init_raw(dim)), z).mean()
    assert abs(value - independent) < 0.01 * dim
    assert (abs(grads["loading"]) > 0).any()


def held_out(process, params, z) -> float:
    """Mean joint log density of a set."""
    return float(process.log_prob(params, z).sum(-1).mean())


def test_fit_keeps_the_moments_and_finds_the_factors(x64):
    moments = large(seed=3, dim=20, rank=2)
    rng = np.random.default_rng(6)
    z, new = (jnp.asarray(draw(rng, moments, number, 8)) for number in (400, 100))
    independent, fitted = FIT_INDEPENDENT(z), FIT_LOW_RANK(z)
    np.testing.assert_allclose(fitted.variance, independent.variance, rtol=1e-10)
    np.testing.assert_allclose(fitted.covariance, independent.covariance, rtol=1e-10)
    assert (fitted.covariance_ratio > 0).all()
    baseline = held_out(INDEPENDENT, independent, new)
    best = held_out(LOW_RANK, CASE.params(moments), new) - baseline
    assert held_out(LOW_RANK, fitted, new) - baseline > 0.8 * best > 1.0


@pytest.mark.parametrize("num_sets", [15, 200])
def test_fit_finds_no_factors_in_independent_dimensions(num_sets):
    """Not even with fewer sets than dimensions, where the leading principal component explains a third."""
    moments = random_moments(np.random.default_rng(7), 60, max_correlation=0.9)
    rng = np.random.default_rng(8)
    z, new = (jnp.asarray(random_set(rng, moments, (number, 8)), jnp.float32) for number in (num_sets, 100))
    loss = held_out(INDEPENDENT, FIT_INDEPENDENT(z), new) - held_out(LOW_RANK, FIT_LOW_RANK(z), new)
    assert loss < 2.0  # of 8 x 60 entries


@pytest.mark.parametrize("rank", [0, 1, 5])
def test_factorise(x64, rank):
    """Against LAPACK, and the gradient of the log-determinant against the inverse."""
    root = np.random.default_rng(9).normal(size=(3, 2, rank, rank + 2))
    matrix = root @ root.swapaxes(-1, -2) + np.eye(rank)
    factors = jax.jit(factorise)(jnp.asarray(matrix))
    np.testing.assert_allclose(factors.lower, np.linalg.cholesky(matrix), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(factors.inverse @ factors.lower, np.broadcast_to(np.eye(rank), matrix.shape), atol=1e-12)
    np.testing.assert_allclose(factors.half_log_det, 0.5 * np.linalg.slogdet(matrix)[1], rtol=1e-11)
    gradient = jax.jit(jax.grad(lambda matrix: factorise(matrix).half_log_det.sum()))(jnp.asarray(matrix))
    np.testing.assert_allclose(gradient + gradient.swapaxes(-1, -2), np.linalg.inv(matrix), rtol=1e-9, atol=1e-12)

"""Samplers against exact moments with 5-sigma gates, and the two laws of coherent samples against each other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.core.process_cases import Moments
from tests.core.registry import COMPILED, NAMES, PROCESSES

pytestmark = pytest.mark.parametrize("name", NAMES)

SEED = 20180501
NUM = 40_000
MOMENTS = Moments(
    mean=np.array([0.3, -1.0]),
    variance=np.array([1.0, 4.0]),
    covariance=np.array([0.4, 3.0]),
    degrees_of_freedom=np.array([12.0, 30.0]),
    gaussian_weight=np.array([0.3, 0.6]),
    factor=np.array([[0.5], [-1.0]]),
)
SEEN = np.array([[1.0, -3.0], [0.2, -2.0], [1.5, 0.5]])


def prepare(name: str, seen: np.ndarray = SEEN):
    case = PROCESSES[name]
    params = case.params(MOMENTS, jnp.float32)
    empty = case.module.init_state(params)
    return case, params, COMPILED[name].update_set(params, empty, jnp.asarray(seen, jnp.float32))


def assert_within_five_sigma(samples: np.ndarray, expected: np.ndarray):
    """The mean over the first axis is `expected`, given the samples' own spread."""
    error = abs(samples.mean(axis=0) - expected)
    gate = 5 * samples.std(axis=0) / np.sqrt(len(samples))
    assert (error < gate).all(), f"seed {SEED}: {error} against {gate}"


@pytest.mark.parametrize("num_seen", [0, 3])
def test_independent_samples_have_the_predictive_moments(name, num_seen):
    case, params, state = prepare(name, SEEN[:num_seen])
    samples = np.float64(COMPILED[name].sample(params, state, jax.random.key(SEED), NUM))
    assert samples.shape == (NUM, 2)
    mean, variance = case.dense_predictive(MOMENTS, SEEN[:num_seen])
    assert_within_five_sigma(samples, mean)
    assert_within_five_sigma((samples - mean) ** 2, variance)
    cross = case.cross_covariance(MOMENTS, SEEN[:num_seen])[0, 1]
    assert_within_five_sigma((samples[:, :1] - mean[0]) * (samples[:, 1:] - mean[1]), np.full(1, cross))
    lagged = (samples[1:] - mean) * (samples[:-1] - mean)
    assert_within_five_sigma(lagged, np.zeros(2))


def test_independent_samples_have_the_predictive_distribution(name):
    """Kolmogorov-Smirnov against the exact distribution function, tails included."""
    case, params, state = prepare(name)
    samples = np.float64(COMPILED[name].sample(params, state, jax.random.key(SEED + 1), NUM))
    for d in range(2):
        law = functools.partial(case.cdf, MOMENTS, d, SEEN)
        assert stats.kstest(samples[:, d], law).pvalue > 1e-5, f"seed {SEED + 1}"


def coherent(name: str, num_sets: int, length: int) -> np.ndarray:
    """[num_sets, length, dim]: many states, one coherent set drawn for each."""
    _case, params, state = prepare(name)
    states = jax.tree.map(lambda part: jnp.broadcast_to(part, (num_sets, *part.shape)), state)
    samples = COMPILED[name].sample_joint(params, states, jax.random.key(SEED + 2), length)
    return np.float64(samples).swapaxes(0, 1)


def autoregressive(name: str, num_sets: int, length: int) -> np.ndarray:
    """The same by drawing one element after the other and absorbing each."""
    case, params, state = prepare(name)
    states = jax.tree.map(lambda part: jnp.broadcast_to(part, (num_sets, *part.shape)), state)

    def step(state, key):
        z = case.module.sample(params, state, key, 1)[0]
        return case.module.update(params, state, z), z

    keys = jax.random.split(jax.random.key(SEED + 3), length)
    _, samples = jax.jit(lambda states: jax.lax.scan(step, states, keys))(states)
    return np.float64(samples).swapaxes(0, 1)


@pytest.mark.parametrize("draw", [coherent, autoregressive])
def test_joint_samples_have_the_moments_of_the_future(name, draw):
    """Spec 1.4: variance f k, covariance of two future elements f (v - rho) tau_n."""
    case = PROCESSES[name]
    samples = draw(name, NUM, 3)
    mean, variance = case.dense_predictive(MOMENTS, SEEN)
    covariance = case.future_covariance(MOMENTS, SEEN)
    for n in range(3):
        assert_within_five_sigma(samples[:, n], mean)
        assert_within_five_sigma((samples[:, n] - mean) ** 2, variance)
    for n, m in ((0, 1), (0, 2), (1, 2)):
        assert_within_five_sigma((samples[:, n] - mean) * (samples[:, m] - mean), covariance)


def test_autoregressive_and_coherent_samples_have_one_law(name):
    """Two-sample tests of functions of the whole set: its mean, its spread and its largest element."""
    one, other = coherent(name, NUM, 3), autoregressive(name, NUM, 3)
    for summary in (lambda z: z.mean(axis=1), lambda z: z.std(axis=1), lambda z: z.max(axis=1)):
        for d in range(2):
            assert stats.ks_2samp(summary(one)[:, d], summary(other)[:, d]).pvalue > 1e-5, f"seed {SEED}"


def test_leading_axes_and_determinism(name):
    _case, params, state = prepare(name)
    states = jax.tree.map(lambda part: jnp.stack([part, part]), state)
    for draw in (COMPILED[name].sample, COMPILED[name].sample_joint):
        samples = draw(params, states, jax.random.key(0), 5)
        assert samples.shape == (5, 2, 2)
        np.testing.assert_array_equal(samples, draw(params, states, jax.random.key(0), 5))
        assert not np.array_equal(samples[:, 0], samples[:, 1])

"""Sets of a million elements and of 100,000 dimensions: values in float32 and float64, and linear memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.bench_growth import MOMENTS, exact_joint, inputs
from tests.core.process_cases import Moments
from tests.core.registry import COMPILED, NAMES, PROCESSES

MILLION = 1_000_000
EXACT = {"gaussian_process": "gaussian", "student_t_process": "student_t"}
FORMS = ("log_prob_recurrent", "log_prob_parallel")


def params_of(name: str, dim: int, dtype):
    mean, variance, covariance, nu = (np.full(dim, value) for value in MOMENTS)
    factor = np.full((dim, 2), 0.3) * [[1.0, -1.0]]
    return PROCESSES[name].params(Moments(mean, variance, covariance, nu, np.full(dim, 0.5), factor), dtype)


def rows(dim: int, number: int) -> np.ndarray:
    return inputs("gaussian", number, dim)[1]


@pytest.mark.parametrize("name", EXACT)
def test_the_closed_form_is_that_of_the_matrix(name):
    z = np.float64(rows(dim=2, number=6))
    moments = Moments(*(np.full(2, value) for value in MOMENTS), np.full(2, 0.5), np.zeros((2, 0)))
    np.testing.assert_allclose(exact_joint(EXACT[name], z), PROCESSES[name].dense_joint(moments, z), rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", EXACT)
def test_a_hundred_thousand_dimensions(name, form):
    """Float32 keeps the joint density to 1e-7 of its size: sums over dimensions are not running sums."""
    z = rows(dim=100_000, number=5)
    log_probs = getattr(COMPILED[name], form)(params_of(name, 100_000, np.float32), jnp.asarray(z))
    np.testing.assert_allclose(np.float64(log_probs).sum(), exact_joint(EXACT[name], z), rtol=3e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("form", FORMS)
def test_a_million_elements_in_float64(x64, name, form):
    z = np.float64(rows(dim=3, number=MILLION))
    log_probs = getattr(COMPILED[name], form)(params_of(name, 3, np.float64), jnp.asarray(z))
    np.testing.assert_allclose(log_probs.sum(), exact_joint(EXACT[name], z), rtol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("form", FORMS)
def test_a_million_elements_in_float32(name, form):
    z = rows(dim=3, number=MILLION)
    log_probs = getattr(COMPILED[name], form)(params_of(name, 3, np.float32), jnp.asarray(z))
    error = abs(np.float64(log_probs).sum() - exact_joint(EXACT[name], z)) / z.size
    assert error < 1e-7  # nats per element and dimension


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_million_elements_in_chunks_are_those_at_once(name):
    z, params = rows(dim=3, number=MILLION), params_of(name, 3, np.float32)
    process, state = COMPILED[name], PROCESSES[name].module.init_state(params)
    for chunk in np.split(z, 100):
        state = process.update_set(params, state, jnp.asarray(chunk))
    whole = process.update_set(params, PROCESSES[name].module.init_state(params), jnp.asarray(z))
    assert int(state.count) == int(whole.count) == MILLION
    exact = np.float64(z)
    for found in (state, whole):
        mean = np.float64(found.mean.value) + np.float64(found.mean.low)
        np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-7)
        if found.scatter is not None:
            np.testing.assert_allclose(found.scatter.value, MILLION * exact.var(axis=0), rtol=5e-7)
    query = jnp.asarray(z[:4])
    densities = [process.predictive_log_prob(params, found, query) for found in (state, whole)]
    np.testing.assert_allclose(*densities, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("form", [*FORMS, "leave_one_out_log_prob", "update_set"])
@pytest.mark.parametrize("name", NAMES)
def test_memory_is_linear_in_elements_and_dimensions(name, form):
    """What XLA plans, per entry of the set: no matrix of elements or dimensions."""

    def planned(size: int, dim: int) -> float:
        params = jax.eval_shape(lambda: params_of(name, dim, np.float32))
        z = jax.ShapeDtypeStruct((size, dim), np.float32)
        state = jax.eval_shape(PROCESSES[name].module.init_state, params)
        given = (params, state, z) if form == "update_set" else (params, z)
        analysis = getattr(COMPILED[name], form).lower(*given).compile().memory_analysis()
        return (analysis.temp_size_in_bytes + analysis.output_size_in_bytes) / (size * dim)

    small = planned(1_000, 8)
    assert planned(100_000, 8) < 1.5 * small + 4
    assert planned(8, 100_000) < 200  # bytes: some arrays of float32
    assert planned(1_000, 1_000) < 200

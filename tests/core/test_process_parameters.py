"""Raw (trainable) parameters of every process of the registry, and the errors of wrong arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core import exchangeable
from tests.core.process_cases import Moments, random_moments
from tests.core.registry import NAMES, PROCESSES

pytestmark = pytest.mark.parametrize("name", NAMES)

DIM = 6


def test_raw_parameters_round_trip(x64, name):
    case = PROCESSES[name]
    moments = random_moments(np.random.default_rng(18), DIM)
    params = case.params(moments)
    recovered = case.module.constrain(case.module.unconstrain(params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-300), recovered, params)
    variance, covariance = case.marginals(moments)
    np.testing.assert_allclose(params.variance, variance, rtol=1e-12)
    np.testing.assert_allclose(params.covariance, covariance, rtol=1e-12)
    np.testing.assert_allclose(params.correlation, covariance / variance, rtol=1e-12)


def test_raw_parameters_of_the_original(x64, name):
    """Values of the unconstrained variables of the published code at initialisation."""
    without_factors = {"rank": 0} if name == "low_rank_process" else {}
    raw = PROCESSES[name].module.init_raw(3, **without_factors)
    expected = {"mean": 0.0, "raw_variance": 0.541325, "raw_correlation": -2.197225, "raw_degrees_of_freedom": 6.905753}
    assert set(expected) - set(raw) <= {"raw_degrees_of_freedom"}
    for key in set(expected) & set(raw):
        np.testing.assert_allclose(raw[key], np.full(3, expected[key]), atol=1e-6)
    params = PROCESSES[name].module.constrain(raw)
    np.testing.assert_allclose(params.variance, 1.0, rtol=1e-12)
    np.testing.assert_allclose(params.covariance, 0.1, rtol=1e-12)


def test_any_raw_value_gives_finite_densities_and_gradients(name):
    """Optimisers may run away; densities and their gradients must not become NaN."""
    module = PROCESSES[name].module
    raw = module.init_raw(2)
    z = jnp.array([[0.3, -1.0], [0.1, 2.0], [0.0, 0.5]])

    @jax.jit
    @jax.value_and_grad
    def both_forms(raw):
        params = module.constrain(raw)
        return module.log_prob_recurrent(params, z).sum() + module.log_prob_parallel(params, z).sum()

    for key in set(raw) - {"mean", "raw_variance"}:  # an infinite mean or a variance of 0 has no density
        for extreme in (-1e4, 1e4):
            value, grads = both_forms(raw | {key: jnp.full_like(raw[key], extreme)})
            assert np.isfinite(value), key
            assert all(np.isfinite(grad).all() for grad in grads.values()), key


def test_errors_say_what_to_do(name):
    module, case = PROCESSES[name].module, PROCESSES[name]
    good = Moments(np.zeros(2), np.ones(2), np.full(2, 0.5), np.full(2, 5.0), np.full(2, 0.5), np.ones((2, 1)))
    params = case.params(good)
    with pytest.raises(ValueError, match="covariance: expected 0 <= covariance < variance, got 1.0 at index 1"):
        module.from_moments(*map(jnp.asarray, case.given(good._replace(covariance=np.array([0.0, 1.0])))))
    with pytest.raises(ValueError, match=r"expected three arrays \[dim\], got \(2,\), \(3,\)"):
        exchangeable.location_from_moments(jnp.zeros(2), jnp.ones(3), jnp.zeros(2))
    with pytest.raises(ValueError, match=r"z_set: expected \[\.\.\., set, 2\], got \(3, 4\)"):
        module.log_prob(params, jnp.zeros((3, 4)))
    if case.has_degrees_of_freedom:
        with pytest.raises(ValueError, match="degrees_of_freedom: expected finite values above 2, got 2.0 at index 0"):
            module.from_moments(*map(jnp.asarray, case.given(good._replace(degrees_of_freedom=np.array([2.0, 3.0])))))
    if "gaussian_weight" in case.fields:
        with pytest.raises(ValueError, match="gaussian_weight: expected values between 0 and 1, got 1.0 at index 1"):
            module.from_moments(*map(jnp.asarray, case.given(good._replace(gaussian_weight=np.array([0.5, 1.0])))))

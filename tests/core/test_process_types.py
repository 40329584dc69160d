"""Types and extremes of what a process is given: integers, float64 that JAX would round, huge variances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.core.process_cases import Moments, exchangeable_matrix
from tests.core.registry import COMPILED, NAMES, PROCESSES

pytestmark = pytest.mark.parametrize("name", NAMES)


def moments(mean=0.0, variance=4.0, covariance=1.0, degrees_of_freedom=1e30):
    """One dimension without factors; with so many degrees of freedom every process is the Gaussian one."""
    one = [np.array([value]) for value in (mean, variance, covariance, degrees_of_freedom, 0.5)]
    return Moments(*one, np.zeros((1, 1)))


def test_an_integer_mean_truncates_no_data(name):
    case, z = PROCESSES[name], [0.7, 0.9, 1.9]
    params = case.params(moments(mean=0))
    assert params.mean.dtype == jnp.float32
    expected = stats.multivariate_normal(np.zeros(3), exchangeable_matrix(3, 4.0, 1.0)).logpdf(z)
    expected -= stats.multivariate_normal(np.zeros(2), exchangeable_matrix(2, 4.0, 1.0)).logpdf(z[:2])
    for chosen in (params, params._replace(mean=jnp.array([0]))):  # made by hand too
        state = case.module.init_state(chosen)
        for value in z[:2]:
            state = COMPILED[name].update(chosen, state, jnp.array([value]))
        np.testing.assert_allclose(
            COMPILED[name].predictive_log_prob(chosen, state, jnp.array(z[2:])), expected, rtol=1e-5
        )
        at_once = COMPILED[name].update_set(chosen, case.module.init_state(chosen), jnp.array([z[:2]]).T)
        np.testing.assert_allclose(at_once.mean.value, 0.8, rtol=1e-6)
        np.testing.assert_allclose(COMPILED[name].log_prob(chosen, jnp.array([z]).T)[2], expected, rtol=1e-5)


def test_numpy_moments_keep_their_digits(name):
    """v - rho and nu - 2 of 1e-7, of which float32 knows one digit."""
    given = moments(variance=1.0, covariance=1.0 - 1e-7, degrees_of_freedom=2.0 + 1e-7)
    case = PROCESSES[name]
    params = case.module.from_moments(*(getattr(given, field) for field in case.fields))
    np.testing.assert_allclose(params.within_variance, 1e-7, rtol=1e-6)
    np.testing.assert_allclose(params.covariance_ratio, 1e7, rtol=1e-6)
    if case.has_degrees_of_freedom:
        np.testing.assert_allclose(params.excess_degrees_of_freedom, 1e-7, rtol=1e-6)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(("variance", "nu"), [(1e9, 1e30), (1.0, 3e38), (1e17, 1e24)])
def test_compiled_densities_of_huge_variances(name, variance, nu):
    """XLA multiplies denominators, which overflowed to a density of no penalty."""
    case, z = PROCESSES[name], np.array([2.0, -1.0]) * np.sqrt(variance)

    def joint(z):
        return case.module.log_prob_parallel(case.params(moments(0.0, variance, 0.3 * variance, nu)), z).sum()

    expected = stats.multivariate_normal(np.zeros(2), exchangeable_matrix(2, variance, 0.3 * variance)).logpdf(z)
    value, slope = jax.jit(jax.value_and_grad(joint))(jnp.asarray(z, jnp.float32)[:, None])
    np.testing.assert_allclose(value, expected, rtol=2e-6)
    gradient = -np.linalg.solve(exchangeable_matrix(2, variance, 0.3 * variance), z)
    np.testing.assert_allclose(slope[:, 0], gradient, rtol=1e-5)


def test_derivatives_of_joint_samples_are_finite_without_covariance(name):
    """At rho = 0 the root of rho has no derivative; that of v - rho is known: each draw is mu + sqrt(v - rho) noise."""
    case = PROCESSES[name]

    def draws(covariance):
        fields = moments(degrees_of_freedom=8.0)._replace(covariance=covariance)
        params = case.module.from_moments(*(jnp.asarray(getattr(fields, field), jnp.float32) for field in case.fields))
        return case.module.sample_joint(params, case.module.init_state(params), jax.random.key(0), 3)[:, 0]

    samples, slope = jax.jit(lambda covariance: (draws(covariance), jax.jacfwd(draws)(covariance)[:, 0]))(jnp.zeros(1))
    np.testing.assert_allclose(slope, -samples / (2 * 4.0), rtol=1e-5)

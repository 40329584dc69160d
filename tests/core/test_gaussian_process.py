"""What only the Gaussian process has: de Finetti mixture, closed-form maximum likelihood."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import optimize, stats

from exflow.core import gaussian_process, low_rank_process, mixture_process, student_t_process
from exflow.core.process import prefers_scan


def draw_sets(num_sets: int = 300, size: int = 6, dim: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    theta = np.array([0.5, -1.0, 0.0]) + np.array([1.0, 0.3, 2.0]) * rng.normal(size=(num_sets, 1, dim))
    return theta + np.array([0.5, 1.0, 0.1]) * rng.normal(size=(num_sets, size, dim))


def test_de_finetti(x64):
    """The integral over theta ~ N(mu, rho) of prod_n N(z_n; theta, v - rho) is the joint density."""
    mean, variance, covariance = 0.3, 2.0, 0.7
    z = np.array([0.1, 1.5, -0.4, 2.0])
    theta = np.linspace(-12, 12, 20_001)
    density = stats.norm(mean, np.sqrt(covariance)).pdf(theta)
    density *= stats.norm(theta[:, None], np.sqrt(variance - covariance)).pdf(z[None]).prod(axis=1)
    params = gaussian_process.from_moments(*(jnp.array([value]) for value in (mean, variance, covariance)))
    joint = gaussian_process.log_prob(params, jnp.asarray(z)[:, None]).sum()
    np.testing.assert_allclose(joint, np.log(density.sum() * (theta[1] - theta[0])), rtol=1e-9)


@pytest.mark.parametrize("learn_mean", [True, False])
def test_fit_is_the_optimum_of_gradient_training(x64, learn_mean):
    z_set = jnp.asarray(draw_sets())
    fitted = jax.jit(gaussian_process.fit, static_argnums=1)(z_set, learn_mean)

    @jax.jit
    @jax.value_and_grad
    def loss(raw):
        raw = raw if learn_mean else raw | {"mean": jnp.zeros(3)}
        return -gaussian_process.log_prob(gaussian_process.constrain(raw), z_set).sum(axis=-1).mean()

    start = gaussian_process.init_raw(3)
    value_at_fit, grads = loss(jax.jit(gaussian_process.unconstrain)(fitted))
    for key, grad in grads.items():
        np.testing.assert_allclose(grad, 0.0, atol=1e-9, err_msg=key)
    vector, unravel = ravel_pytree(start)

    def objective(x):
        value, grads = loss(unravel(jnp.asarray(x)))
        return float(value), np.asarray(ravel_pytree(grads)[0])

    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 500}
    result = optimize.minimize(objective, vector, jac=True, method="L-BFGS-B", options=options)
    np.testing.assert_allclose(value_at_fit, result.fun, rtol=1e-9)
    trained = gaussian_process.constrain(unravel(jnp.asarray(result.x)))
    np.testing.assert_allclose(fitted.variance, trained.variance, rtol=1e-4)
    np.testing.assert_allclose(fitted.covariance, trained.covariance, rtol=1e-4)


@pytest.mark.parametrize("learn_mean", [True, False])
def test_fit_is_the_formula_of_the_specification(x64, learn_mean):
    z = draw_sets()
    size = z.shape[1]
    mean = z.mean(axis=(0, 1)) if learn_mean else np.zeros(3)
    l1 = ((z - z.mean(axis=1, keepdims=True)) ** 2).sum(axis=1).mean(axis=0) / (size - 1)
    l2 = size * ((z.mean(axis=1) - mean) ** 2).mean(axis=0)
    for module in (gaussian_process, student_t_process, mixture_process, low_rank_process):
        params = jax.jit(module.fit, static_argnums=1)(jnp.asarray(z), learn_mean)
        np.testing.assert_allclose(params.mean, mean, rtol=1e-12)
        np.testing.assert_allclose(params.variance, (l2 + (size - 1) * l1) / size, rtol=1e-12)
        np.testing.assert_allclose(params.covariance, (l2 - l1) / size, rtol=1e-10)


BEYOND_THE_PAPER = [pytest.param(module, marks=pytest.mark.slow) for module in (mixture_process, low_rank_process)]
MODULES = [gaussian_process, student_t_process, *BEYOND_THE_PAPER]


@pytest.mark.parametrize("module", MODULES)
def test_fit_leaves_masked_elements_out(x64, module):
    """Holes in different places, NaN in them, one set empty: the fit of what is there, inside compiled code."""
    z, rng = draw_sets(40), np.random.default_rng(1)
    mask = np.array([rng.permutation(6) < 4 for _ in z])
    kept = z[mask].reshape(40, 4, 3)
    mask = np.concatenate([mask, np.zeros((1, 6), bool)])
    holes = np.where(mask[..., None], np.concatenate([z, z[:1]]), np.nan)
    fitted = jax.jit(lambda z, mask: module.unconstrain(module.fit(z, mask=mask)))(jnp.asarray(holes), mask)
    expected = jax.jit(lambda z: module.unconstrain(module.fit(z)))(jnp.asarray(kept))
    for name in expected:
        np.testing.assert_allclose(abs(fitted[name]), abs(expected[name]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("module", MODULES)
def test_fit_stays_valid_on_degenerate_sets(module):
    """Independent or constant data, one element per set: parameters remain usable and trainable."""
    rng = np.random.default_rng(0)
    alternating = np.tile([[1.0], [-1.0]], (10, 2, 1))  # negative covariance within sets
    same = np.repeat(rng.normal(size=(10, 1, 1)), 4, axis=1)  # correlation one

    @jax.jit
    def fit_and_differentiate(z):
        params = module.fit(z)
        raw = module.unconstrain(params)
        return params, raw, jax.grad(lambda raw: module.log_prob(module.constrain(raw), z).sum())(raw)

    for z in (alternating, same, np.zeros((10, 4, 1)), rng.normal(size=(10, 1, 1))):
        params, raw, grads = fit_and_differentiate(jnp.asarray(z, jnp.float32))
        assert float(params.variance[0]) >= 0.99e-6
        assert 0.99e-4 <= float(params.correlation[0]) < 1
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((raw, grads)))
    fitted, _, _ = fit_and_differentiate(jnp.asarray(alternating, jnp.float32))
    np.testing.assert_allclose(fitted.variance, 1.0, rtol=1e-6)
    with pytest.raises(ValueError, match=r"z_set: expected \[batch, set, dim\] with elements, got \(0, 4, 1\)"):
        module.fit(jnp.zeros((0, 4, 1)))


def test_log_prob_picks_the_faster_form_per_backend():
    assert prefers_scan(20, "cpu")
    assert prefers_scan(10_000, "cpu")
    assert not prefers_scan(1, "cpu")
    assert not prefers_scan(20, "gpu")
    assert not prefers_scan(10_000, "tpu")

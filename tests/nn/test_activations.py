"""Activation functions against NumPy and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from exflow.nn.activations import elu, gelu

POINTS = np.array([-np.inf, -800.0, -20.0, -1.0, -1e-3, -1e-9, -0.0, 0.0, 1e-9, 0.5, 30.0])


def test_value_and_derivative(x64):
    below = np.minimum(POINTS, 0.0)
    np.testing.assert_allclose(elu(jnp.asarray(POINTS)), np.where(POINTS > 0, POINTS, np.expm1(below)), rtol=1e-14)
    slopes = jax.vmap(jax.grad(elu))(jnp.asarray(POINTS))
    np.testing.assert_allclose(slopes, np.where(POINTS > 0, 1.0, np.exp(below)), rtol=1e-12, atol=1e-16)


def test_float32_is_relatively_exact_and_nan_stays():
    points = np.linspace(-20, 2, 4001, dtype=np.float32)
    expected = np.where(points > 0, points, np.expm1(np.minimum(points, 0).astype(np.float64)))
    np.testing.assert_allclose(elu(jnp.asarray(points)), expected, rtol=6e-7)
    assert np.isnan(elu(jnp.float32(np.nan)))
    assert elu(jnp.bfloat16(-1)).dtype == jnp.bfloat16


def test_gelu_and_its_derivative(x64):
    points = POINTS[np.isfinite(POINTS)]
    cdf, density = scipy.stats.norm.cdf(points), scipy.stats.norm.pdf(points)
    np.testing.assert_allclose(gelu(jnp.asarray(points)), points * cdf, rtol=1e-13, atol=1e-15)
    slopes = jax.vmap(jax.grad(gelu))(jnp.asarray(points))
    np.testing.assert_allclose(slopes, cdf + points * density, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(jax.jacfwd(gelu)(jnp.asarray(points)), np.diag(slopes), rtol=1e-13)


def test_gelu_is_exact_to_roundings_of_its_argument():
    points = np.linspace(-20, 20, 4001, dtype=np.float32)
    expected = points * scipy.stats.norm.cdf(points.astype(np.float64))
    assert np.all(np.abs(gelu(jnp.asarray(points)) - expected) <= 2**-22 * np.abs(points))  # two roundings
    narrowed = jnp.asarray(points, jnp.bfloat16)
    narrow = gelu(narrowed)
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        narrow.astype(np.float32), gelu(jnp.asarray(points, jnp.bfloat16).astype(jnp.float32)), rtol=2**-8
    )

"""The exponential linear unit against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from exflow.nn.activations import elu

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

"""Gradients of signs against finite differences of what stands in for them, and the law of drawn and flipped bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.nn.straight_through import binarize, flipped

A = np.array([-2.0, -0.4, 0.0, 0.3, 0.9, 1.7])
WEIGHTS = np.array([0.5, -1.0, 2.0, 0.3, -0.7, 1.1])


@pytest.mark.parametrize(("gradient", "surrogate"), [("tanh", np.tanh), ("clip", lambda a: np.clip(a, -1, 1))])
def test_gradient_is_that_of_the_surrogate(gradient, surrogate):
    def loss(a):
        bits, _ = binarize(a, gradient)
        return (jnp.asarray(WEIGHTS) * bits + 0.25 * bits**2).sum()  # dL/dz = w + z / 2

    with jax.enable_x64(True):
        found = jax.grad(loss)(jnp.asarray(A))
    slope = (surrogate(A + 1e-6) - surrogate(A - 1e-6)) / 2e-6
    np.testing.assert_allclose(found, (WEIGHTS + np.where(A >= 0, 0.5, -0.5)) * slope, atol=1e-6)


def test_bits_are_exact_signs():
    bits, soft = binarize(jnp.asarray(np.linspace(-3, 3, 1001), jnp.float32))
    assert set(np.unique(bits)) == {-1.0, 1.0}
    assert bits[500] == 1.0  # of 0
    assert float(jnp.abs(soft).max()) < 1.0


def test_drawn_bits_have_the_mean_of_tanh():
    drawn, soft = jax.vmap(lambda key: binarize(jnp.asarray(A, jnp.float32), "stochastic", key))(
        jax.random.split(jax.random.key(0), 20_000)
    )
    assert set(np.unique(drawn)) == {-1.0, 1.0}
    np.testing.assert_allclose(drawn.mean(axis=0), soft[0], atol=5 / np.sqrt(20_000))
    still, _ = binarize(jnp.asarray(A, jnp.float32), "stochastic")
    np.testing.assert_array_equal(still, np.where(A >= 0, 1, -1))


def test_flips():
    bits = jnp.ones((20_000,))
    share = (flipped(bits, jax.random.key(1), 0.2) < 0).mean()
    np.testing.assert_allclose(share, 0.2, atol=5 * 0.4 / np.sqrt(20_000))


def test_unknown_gradient():
    with pytest.raises(ValueError, match="gradient: expected one of .*, got 'relu'"):
        binarize(jnp.zeros(1), "relu")

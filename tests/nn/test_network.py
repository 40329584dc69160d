"""Flax modules as pure functions."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from exflow.nn.network import network

TRACED = []


class Doubled(nn.Module):
    """A dense layer with a factor, which notes that it is traced."""

    factor: float

    @nn.compact
    def __call__(self, x, shift=None):
        TRACED.append(self.factor)
        y = self.factor * nn.Dense(3)(x)
        return y if shift is None else y + shift


def test_equal_modules_are_traced_once_and_each_has_its_own_parameters():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2)), jnp.float32)
    nets = [network(Doubled(2.0)), network(Doubled(2.0)), network(Doubled(-1.0))]
    params = [jax.jit(net.init)(jax.random.key(at), x) for at, net in enumerate(nets)]
    TRACED.clear()
    outputs = jax.jit(lambda params: [net.apply(own, x) for net, own in zip(nets, params, strict=True)])(params)
    assert sorted(TRACED) == [-1.0, 2.0]
    for own, factor, found in zip(params, (2.0, 2.0, -1.0), outputs, strict=True):
        dense = own["Dense_0"]
        np.testing.assert_allclose(found, factor * (x @ dense["kernel"]), rtol=1e-5, atol=1e-6)  # biases begin at 0


def test_inputs_may_be_missing():
    net, x = network(Doubled(2.0)), jnp.ones((4, 2))
    params = jax.jit(net.init)(jax.random.key(0), x)
    np.testing.assert_allclose(net.apply(params, x, 1.0), net.apply(params, x, None) + 1.0, rtol=1e-6)

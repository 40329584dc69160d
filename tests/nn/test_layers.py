"""Layers of the set VAEs: values against numpy, and where their parameters start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy import signal, stats

from exflow.nn.initial_values import init_at_once
from exflow.nn.layers import Doubling, Linear


def test_dense_layer_acts_on_the_last_axis(x64):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4)))
    layer = Linear(5)
    params = jax.jit(layer.init)(jax.random.key(0), x)
    expected = np.asarray(x) @ np.asarray(params["params"]["kernel"]) + np.asarray(params["params"]["bias"])
    np.testing.assert_allclose(jax.jit(layer.apply)(params, x), expected, rtol=1e-6)


@pytest.mark.parametrize(("strides", "padding"), [(1, 1), (2, 1), (1, 0)])
def test_convolution_is_that_of_scipy(x64, strides, padding):
    x = np.random.default_rng(0).normal(size=(2, 3, 7, 7, 2))
    layer = Linear(3, (3, 3), strides, padding)
    params = jax.jit(layer.init)(jax.random.key(0), jnp.asarray(x))
    kernel, bias = (np.asarray(params["params"][name], np.float64) for name in ("kernel", "bias"))
    out = np.asarray(jax.jit(layer.apply)(params, jnp.asarray(x)))
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding), (0, 0)))
    for unit in range(3):
        planes = (signal.correlate2d(padded[1, 2, :, :, c], kernel[:, :, c, unit], "valid") for c in range(2))
        np.testing.assert_allclose(out[1, 2, :, :, unit], sum(planes)[::strides, ::strides] + bias[unit], rtol=1e-6)


def test_doubling_makes_four_pixels_of_one(x64):
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 4))
    layer = Doubling(5)
    params = jax.jit(layer.init)(jax.random.key(0), jnp.asarray(x))
    kernel, bias = (np.asarray(params["params"][name], np.float64) for name in ("kernel", "bias"))
    out = jax.jit(layer.apply)(params, jnp.asarray(x))
    assert out.shape == (2, 6, 6, 5)
    for row, column in ((0, 0), (1, 0), (4, 5)):
        expected = x[:, row // 2, column // 2] @ kernel[row % 2, column % 2] + bias
        np.testing.assert_allclose(out[:, row, column], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("initialization", "expected"),
    [
        ("uniform_fan_in", stats.uniform(-1 / np.sqrt(50), 2 / np.sqrt(50))),
        ("xavier_normal", stats.norm(0, np.sqrt(2) * np.sqrt(2 / (50 + 200)))),
    ],
)
def test_initial_kernels_follow_their_law(initialization, expected):
    init = jax.jit(Linear(200, initialization=initialization).init)
    params = jax.device_get(init(jax.random.key(0), np.zeros((1, 50), np.float32))["params"])
    assert stats.kstest(params["kernel"].ravel(), expected.cdf).pvalue > 1e-3
    assert bool((params["bias"] == 0).all()) == (initialization == "xavier_normal")


def test_one_draw_serves_all_parameters_with_different_numbers():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Linear(30, name="b")(Linear(20, name="a")(x))

    x = np.zeros((1, 10), np.float32)
    params, other = (
        jax.jit(init_at_once, static_argnums=1)(jax.random.key(seed), Two(), x)["params"] for seed in (0, 2)
    )
    numbers = np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(params)])
    assert len(np.unique(numbers)) == len(numbers)
    assert (np.asarray(other["a"]["kernel"]) != np.asarray(params["a"]["kernel"])).all()
    bound = 1 / np.sqrt(10)
    assert stats.kstest(np.asarray(params["a"]["kernel"]).ravel(), stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-3

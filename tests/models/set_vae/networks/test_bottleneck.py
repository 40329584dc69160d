"""The block of the stream networks against plain NumPy, and its initial values."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from exflow.models.set_vae.networks.bottleneck import Bottleneck


def test_bottleneck_is_four_products_on_small_maps(x64):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, 2, 2, 8)))
    module = Bottleneck(8, 8, resolution=2, residual=True)
    params = jax.device_get(jax.jit(module.init)(jax.random.key(0), x)["params"])
    params = jax.tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape), params)
    expected = np.asarray(x)
    for layer in range(4):
        weights = params[f"Linear_{layer}"]
        assert weights["kernel"].shape == ((8, 2), (2, 2), (2, 2), (2, 8))[layer]
        expected = expected * norm.cdf(expected) @ weights["kernel"] + weights["bias"]
    found = jax.jit(lambda params, x: module.apply({"params": params}, x))(params, x)
    np.testing.assert_allclose(found, x + expected, rtol=1e-12)


def test_initial_values_of_a_bottleneck():
    init = jax.jit(Bottleneck(64, 48, resolution=4, scale=0.5).init)
    params = init(jax.random.key(0), np.zeros((4, 4, 32), np.float32))["params"]
    fan_ins = (32, 9 * 16, 9 * 16, 16)
    for layer, (fan_in, scale) in enumerate(zip(fan_ins, (1, 1, 1, 0.5), strict=True)):
        kernel = np.asarray(params[f"Linear_{layer}"]["kernel"]) * math.sqrt(fan_in) / scale  # uniform in +-1
        assert 0.97 < np.abs(kernel).max() <= 1
        assert abs(kernel.std() - 1 / math.sqrt(3)) < 0.03
        np.testing.assert_array_equal(params[f"Linear_{layer}"]["bias"], 0.0)

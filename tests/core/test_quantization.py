"""Dequantisation noise and units."""

import jax
import jax.numpy as jnp
import numpy as np

from exflow.core.quantization import bits_per_dim, dequantize, quantize

PIXELS = jnp.arange(256, dtype=jnp.uint8)


def test_quantize_undoes_dequantize():
    x = jnp.tile(PIXELS, 4000)
    noisy = dequantize(jax.random.key(0), x)
    assert noisy.dtype == jnp.float32
    assert float(noisy.min()) >= 0
    assert float(noisy.max()) < 256
    np.testing.assert_array_equal(quantize(noisy), x)
    np.testing.assert_array_equal(dequantize(None, PIXELS), np.arange(256) + 0.5)
    np.testing.assert_array_equal(quantize(dequantize(None, PIXELS)), PIXELS)


def test_noise_that_rounds_up_stays_in_its_interval(monkeypatch):
    """255 + (1 - 2^-24) is 256 in float32; the largest uniform draw must still be pixel 255."""
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape, dtype: jnp.full(shape, 1 - 2.0**-24, dtype))
    noisy = dequantize(jax.random.key(0), PIXELS)
    np.testing.assert_array_equal(np.floor(noisy), np.arange(256))


def test_noise_is_uniform_within_five_sigma():
    num = 400_000
    noise = np.asarray(dequantize(jax.random.key(1), jnp.full(num, 7, jnp.uint8)), np.float64) - 7
    assert abs(noise.mean() - 0.5) < 5 * np.sqrt(1 / 12 / num)
    assert abs(noise.var() - 1 / 12) < 5 * np.sqrt(1 / 180 / num)


def test_quantize_clips():
    np.testing.assert_array_equal(quantize(jnp.array([-0.1, 256.0, 1e9, 3.999])), [0, 255, 255, 3])


def test_bits_per_dim():
    assert bits_per_dim(784 * np.log(256.0), 784) == 8.0
    np.testing.assert_allclose(bits_per_dim(jnp.array([2757.0]), 784), [5.073], atol=1e-3)

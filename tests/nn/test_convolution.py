"""Values and gradients of the convolution against scipy and against XLA's own gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from exflow.nn.convolution import same_convolution


@pytest.mark.parametrize("kernel_size", [(1, 1), (3, 3), (5, 3)])
def test_values_equal_scipy(x64, kernel_size):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2, 7, 6, 3))
    kernel = generator.normal(size=(*kernel_size, 3, 4))
    expected = np.zeros((2, 7, 6, 4))
    for image, channel_in, channel_out in np.ndindex(2, 3, 4):
        expected[image, :, :, channel_out] += scipy.signal.correlate2d(
            x[image, :, :, channel_in], kernel[:, :, channel_in, channel_out], mode="same"
        )
    for gradient in ("plain", "matmul"):
        actual = same_convolution(jnp.asarray(x), jnp.asarray(kernel), gradient)
        np.testing.assert_allclose(actual, expected, atol=1e-12)


@pytest.mark.parametrize("kernel_size", [(3, 3), (5, 3)])
def test_gradients_agree(x64, kernel_size):
    keys = jax.random.split(jax.random.key(1), 3)
    x = jax.random.normal(keys[0], (4, 6, 5, 3), jnp.float64)
    kernel = jax.random.normal(keys[1], (*kernel_size, 3, 2), jnp.float64)
    weight = jax.random.normal(keys[2], (4, 6, 5, 2), jnp.float64)

    def gradients(gradient):
        return jax.grad(lambda x, k: (weight * jnp.sin(same_convolution(x, k, gradient))).sum(), argnums=(0, 1))(
            x, kernel
        )

    for actual, expected in zip(gradients("matmul"), gradients("plain"), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="kernel: expected odd height and width"):
        same_convolution(jnp.zeros((1, 4, 4, 1)), jnp.zeros((2, 2, 1, 1)))
    with pytest.raises(ValueError, match="gradient: expected one of"):
        same_convolution(jnp.zeros((1, 4, 4, 1)), jnp.zeros((3, 3, 1, 1)), "fast")

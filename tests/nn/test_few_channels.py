"""The convolution to few channels: values and gradients of XLA's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.nn.convolution import convolution
from exflow.nn.few_channels import convolution_to_few


# Padding may differ between the directions and the picture may grow or shrink
@pytest.mark.parametrize(("kernel_size", "padding"), [((3, 3), (1, 1)), ((3, 2), (0, 2))])
def test_values_and_gradients(kernel_size, padding, x64):
    rng = np.random.default_rng(0)
    x, kernel = jnp.asarray(rng.normal(size=(2, 5, 4, 3))), jnp.asarray(rng.normal(size=(*kernel_size, 3, 2)))
    expected, pull = jax.vjp(lambda x, kernel: convolution(x, kernel, 1, padding), x, kernel)
    dy = jnp.asarray(rng.normal(size=expected.shape))
    found, pull_found = jax.vjp(functools.partial(convolution_to_few, padding=padding), x, kernel)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    for actual, wanted in zip(pull_found(dy), pull(dy), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-12, atol=1e-12)

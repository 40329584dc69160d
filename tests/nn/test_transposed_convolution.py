"""The transposed convolution: adjoint to a convolution with stride, twice as large, with the gradients of JAX's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from exflow.nn.convolution import GRADIENTS, convolution
from exflow.nn.transposed_convolution import transposed_convolution

RNG = np.random.default_rng(0)
SMALL, LARGE = RNG.normal(size=(2, 3, 4, 5)), RNG.normal(size=(2, 6, 8, 2))
KERNEL = RNG.normal(size=(3, 3, 2, 5))  # of the convolution from large to small


@functools.partial(jax.jit, static_argnums=2)
def transposed(y, kernel, gradient):
    return transposed_convolution(y, kernel, 2, (1, 1), gradient)


@functools.partial(jax.jit, static_argnums=2)
def pulled(y, kernel, gradient):
    return jax.grad(lambda y, kernel: (jnp.sin(transposed(y, kernel, gradient)) * LARGE).sum(), (0, 1))(y, kernel)


def written_out(y, kernel):
    """By zeros between the entries of y, with JAX's own convolution."""
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    return lax.conv_general_dilated(
        y, flipped, (1, 1), ((1, 2), (1, 2)), lhs_dilation=(2, 2), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_it_is_the_adjoint_of_the_convolution(gradient, x64):
    found = transposed(SMALL, KERNEL, gradient)
    assert found.shape == LARGE.shape
    down = convolution(jnp.asarray(LARGE), jnp.asarray(KERNEL), 2, (1, 1))
    assert down.shape == SMALL.shape
    np.testing.assert_allclose((down * SMALL).sum(), (LARGE * found).sum(), rtol=1e-12)
    np.testing.assert_allclose(found, written_out(SMALL, KERNEL), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_gradients(gradient, x64):
    found = pulled(SMALL, KERNEL, gradient)
    expected = jax.grad(lambda y, kernel: (jnp.sin(written_out(y, kernel)) * LARGE).sum(), (0, 1))(
        jnp.asarray(SMALL), jnp.asarray(KERNEL)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), found, expected)

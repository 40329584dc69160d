"""Products with bfloat16 operands against products of operands rounded beforehand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.nn.product import as_dot_general, bfloat16_product, of_every_second_column, of_every_second_row


def rounded(a):
    return np.asarray(jnp.asarray(a).astype(jnp.bfloat16).astype(jnp.float32), np.float64)


def operands(*leading):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(*leading, 24)), rng.normal(size=(24, 5))
    return jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)


@pytest.mark.parametrize("leading", [(6,), (7,), (3, 4)])
def test_value_is_the_product_of_the_rounded_operands(leading):
    x, kernel = operands(*leading)
    product = bfloat16_product(x, kernel)
    assert product.dtype == jnp.float32
    np.testing.assert_allclose(product, rounded(x) @ rounded(kernel), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("leading", [(6,), (7,), (3, 4)])
def test_gradient_is_that_of_the_rounded_operands(leading):
    x, kernel = operands(*leading)
    weight = jnp.asarray(np.random.default_rng(1).normal(size=(*leading, 5)), jnp.float32)
    x_gradient, kernel_gradient = jax.grad(lambda *args: (bfloat16_product(*args) * weight).sum(), (0, 1))(x, kernel)
    np.testing.assert_allclose(x_gradient, rounded(weight) @ rounded(kernel).T, rtol=1e-5, atol=1e-5)
    flat = rounded(x).reshape(-1, 24).T @ rounded(weight).reshape(-1, 5)
    np.testing.assert_allclose(kernel_gradient, flat, rtol=1e-5, atol=1e-5)
    assert x_gradient.dtype == kernel_gradient.dtype == jnp.float32


def test_other_contractions_are_refused():
    x, kernel = operands(6)
    with pytest.raises(ValueError, match="dense layer"):
        as_dot_general(bfloat16_product)(x, kernel.T, (((1,), (1,)), ((), ())))


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("size", [5, 6])
def test_half_products_leave_out_what_does_not_count(first, size):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 3, size)), rng.normal(size=(size, 12))
    x[..., 1 - first :: 2] = 0
    np.testing.assert_allclose(of_every_second_row(np.matmul, first)(x, kernel), x @ kernel)
    for width in (1, 2, 3):
        found = of_every_second_column(jnp.matmul, first, width)(jnp.asarray(x, jnp.float32), jnp.asarray(kernel))
        wanted = np.zeros(12 // width, bool)
        wanted[first::2] = True
        expected = np.where(np.repeat(wanted, width), x @ kernel, 0)
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(("rows", "num_out"), [(0, 4), (3, 1), (3, 2)])
def test_half_products_of_the_smallest_shapes(rows, num_out, first):
    x, kernel = jnp.ones((rows, 2)), jnp.ones((2, num_out))
    expected = jnp.where(np.arange(num_out) % 2 == first, x @ kernel, 0)
    np.testing.assert_array_equal(of_every_second_column(jnp.matmul, first)(x, kernel), expected)

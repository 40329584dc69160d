"""Matrix products of dense layers: with bfloat16 operands, and of every second row or column only.

Processors with bfloat16 matrix units (AMX on CPUs, tensor cores) multiply rounded operands several times faster than
float32 ones. Only the operands are rounded: sums, activations, parameters and gradients stay float32. That is also what
`jax.default_matmul_precision("bfloat16")` means on TPUs; on CPU it has no effect.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_vjp
def bfloat16_product(
    x: Float[Array, "*batch num_in"], kernel: Float[Array, "num_in num_out"]
) -> Float[Array, "*batch num_out"]:
    """X @ kernel, rounding both and, in the backward pass, the gradient of the output to bfloat16.

    The relative error of a product is about 2^-8 of the operands' norms, with no bias.

    Args:
      x: Inputs; rounded to 8 bits of mantissa.
      kernel: Weights; likewise.

    Returns:
      float32 sums of exact products of the rounded numbers.
    """
    return _contract(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), x.ndim - 1, 0)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    operands = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    return _contract(*operands, x.ndim - 1, 0), operands


def _backward(operands: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = operands
    gradient = gradient.astype(jnp.bfloat16)
    x_gradient = _contract(gradient, kernel, gradient.ndim - 1, 1)
    x, gradient = (array.reshape(-1, array.shape[-1]) for array in (x, gradient))
    if len(x) % 2 == 0:  # XLA:CPU is fast on bfloat16 sums over two axes and slow on sums over the first of two axes
        x, gradient = (array.reshape(2, -1, array.shape[-1]) for array in (x, gradient))
    batch = tuple(range(x.ndim - 1))
    kernel_gradient = jax.lax.dot_general(x, gradient, ((batch, batch), ((), ())), preferred_element_type=jnp.float32)
    return x_gradient, kernel_gradient


def _contract(a: Array, b: Array, a_axis: int, b_axis: int) -> Array:
    return jax.lax.dot_general(a, b, (((a_axis,), (b_axis,)), ((), ())), preferred_element_type=jnp.float32)


bfloat16_product.defvjp(_forward, _backward)


Product = Callable[[Array, Array], Array]  # (x [..., num_in], kernel [num_in, num_out]) -> [..., num_out]


def chosen_product(bfloat16: bool) -> Product:
    """`bfloat16_product` or the plain one."""
    return bfloat16_product if bfloat16 else jnp.matmul


def of_every_second_row(product: Product, first: int) -> Product:
    """The product of an x that is zero everywhere but at inputs `first`, `first` + 2, ..., for half the arithmetic."""
    return lambda x, kernel: product(x[..., first::2], kernel[first::2])


def of_every_second_column(product: Product, first: int, width: int = 1) -> Product:
    """The product where outputs `first`, `first` + 2, ..., of `width` columns each, are wanted; the others are 0."""

    def half(x: Array, kernel: Array) -> Array:
        num_in, num_out = kernel.shape
        number = num_out // width
        wanted = len(range(first, number, 2))
        columns = kernel.reshape(num_in, number, width)[:, first::2].reshape(num_in, wanted * width)
        found = product(x, columns).reshape(*x.shape[:-1], wanted, width)
        spread = [(0, 0, 0)] * (x.ndim - 1) + [(first, number - first - max(2 * wanted - 1, 0), 1), (0, 0, 0)]
        return jax.lax.pad(found, jnp.zeros((), found.dtype), spread).reshape(*x.shape[:-1], num_out)

    return half


def as_dot_general(product: Product) -> Callable[..., Array]:
    """A product as the `dot_general` of `flax.linen.Dense`."""

    def dot_general(x: Array, kernel: Array, dimension_numbers: Any, **_: Any) -> Array:
        expected = (((x.ndim - 1,), (0,)), ((), ()))
        if dimension_numbers != expected:
            raise ValueError(
                f"dimension_numbers: expected those of a dense layer, {expected}, got {dimension_numbers}."
            )
        return product(x, kernel)

    return dot_general

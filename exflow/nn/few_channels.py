"""Convolution of channels-last images to very few channels, those of a picture, with gradients by products.

A convolution library computes the gradients of such a layer far slower than their operation count says: that with
respect to the input has one channel to sum over, that of the kernel one filter. Written as one product with the kernels
of all taps, whose columns are then shifted and added, both gradients are products of matrices with num_in columns.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exflow.nn.convolution import convolution

FEW = 3  # output channels at most for which this is the faster form on a CPU


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolution_to_few(
    x: Float[Array, "batch height width num_in"],
    kernel: Float[Array, "kernel_height kernel_width num_in num_out"],
    padding: tuple[int, int],
) -> Float[Array, "batch out_height out_width num_out"]:
    """`exflow.nn.convolution.convolution` with stride one; there is no forward mode.

    Args:
      x: Images, channels last.
      kernel: Filters.
      padding: Zeros above and below, and left and right.

    Returns:
      Filtered images.
    """
    return convolution(x, kernel, 1, padding)


def _forward(x: Array, kernel: Array, padding: tuple[int, int]) -> tuple[Array, tuple[Array, Array]]:
    return convolution_to_few(x, kernel, padding), (x, kernel)


def _backward(padding: tuple[int, int], residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    of_x, of_kernel = jax.vjp(partial(_by_shifts, padding=padding), x, kernel)[1](dy)
    return of_x, of_kernel


convolution_to_few.defvjp(_forward, _backward)


def _by_shifts(x: Array, kernel: Array, padding: tuple[int, int]) -> Array:
    """The convolution as a product and sums of shifted maps, one per tap."""
    kernel_height, kernel_width, num_in, num_out = kernel.shape
    batch, height, width, _ = x.shape
    columns = kernel.transpose(2, 0, 1, 3).reshape(num_in, -1)
    maps = (x.reshape(-1, num_in) @ columns).reshape(batch, height, width, -1, num_out)
    around = ((0, 0), *((side, side) for side in padding), (0, 0), (0, 0))
    maps = jnp.pad(maps, around)
    out_height, out_width = maps.shape[1] - kernel_height + 1, maps.shape[2] - kernel_width + 1
    taps = [
        maps[:, row : row + out_height, column : column + out_width, kernel_width * row + column]
        for row in range(kernel_height)
        for column in range(kernel_width)
    ]
    return sum(taps[1:], taps[0])

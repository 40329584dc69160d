"""Stride-one "same" convolution with a choice of how its gradients are computed.

Inside `lax.scan`, XLA's CPU backend computes the gradient of a convolution with respect to its kernel by a naive loop.
Written as one matrix product per kernel position (tap), the same gradient runs at the speed of the matrix product.
Outside of loops, and on accelerators, the plain form is faster. `benchmarks/bench_convolution.py` measures both.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

GRADIENTS = ("plain", "matmul")


def _plain(x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


_with_matmul_gradient = jax.custom_vjp(_plain)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _plain(x, kernel), (x, kernel)


def _backward(residuals: tuple[Array, Array], output_gradient: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    x_gradient = _plain(output_gradient, flipped)
    kernel_height, kernel_width, num_in, num_out = kernel.shape
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (kernel_height // 2,) * 2, (kernel_width // 2,) * 2, (0, 0)))
    flat_gradient = output_gradient.reshape(-1, num_out)
    taps = [
        padded[:, row : row + height, column : column + width].reshape(-1, num_in).T @ flat_gradient
        for row in range(kernel_height)
        for column in range(kernel_width)
    ]
    return x_gradient, jnp.stack(taps).reshape(kernel.shape)


_with_matmul_gradient.defvjp(_forward, _backward)


def same_convolution(
    x: Float[Array, "batch height width num_in"],
    kernel: Float[Array, "kernel_height kernel_width num_in num_out"],
    gradient: str = "plain",
) -> Float[Array, "batch height width num_out"]:
    """Convolve with zero padding and stride one, so that height and width stay.

    Args:
      x: Images, channels last.
      kernel: Filters of odd height and width.
      gradient: "plain" (XLA's own) or "matmul" (kernel gradient as one matrix product per tap, input gradient as a
        convolution with the flipped kernel). The values agree.

    Returns:
      Filtered images.

    Raises:
      ValueError: The kernel has an even side, or `gradient` is unknown.
    """
    if kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
        raise ValueError(f"kernel: expected odd height and width, got {kernel.shape[:2]}. Use 1x1, 3x3 or 5x5.")
    if gradient not in GRADIENTS:
        raise ValueError(f"gradient: expected one of {GRADIENTS}, got {gradient!r}.")
    if kernel.shape[:2] == (1, 1):
        return x @ kernel[0, 0]
    return _with_matmul_gradient(x, kernel) if gradient == "matmul" else _plain(x, kernel)

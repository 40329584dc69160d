"""Stride-one "same" convolution with a choice of how its gradients are computed.

XLA's CPU backend computes the gradient of a convolution with respect to its kernel on one thread by an algorithm whose
rate falls with the number of images, and by a naive loop inside `lax.scan`. Written as one matrix product per kernel
position (tap), the same gradient runs at the speed of the matrix product. `benchmarks/bench_convolution.py` measures
both; accelerators have good library kernels, so they use the plain form.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

GRADIENTS = ("auto", "plain", "matmul")


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


def resolve_gradient(gradient: str) -> str:
    """Turn "auto" into "matmul" on CPU and "plain" on accelerators."""
    if gradient not in GRADIENTS:
        raise ValueError(f"gradient: expected one of {GRADIENTS}, got {gradient!r}.")
    if gradient == "auto":
        return "matmul" if jax.default_backend() == "cpu" else "plain"
    return gradient


def same_convolution(
    x: Float[Array, "batch height width num_in"],
    kernel: Float[Array, "kernel_height kernel_width num_in num_out"],
    gradient: str = "auto",
) -> Float[Array, "batch height width num_out"]:
    """Convolve with zero padding and stride one, so that height and width stay.

    Args:
      x: Images, channels last.
      kernel: Filters of odd height and width.
      gradient: "plain" (XLA's own), "matmul" (kernel gradient as one matrix product per tap, input gradient as a
        convolution with the flipped kernel) or "auto" (matmul on CPU, plain elsewhere). The values agree.

    Returns:
      Filtered images.

    Raises:
      ValueError: The kernel has an even side, or `gradient` is unknown.
    """
    if kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
        raise ValueError(f"kernel: expected odd height and width, got {kernel.shape[:2]}. Use 1x1, 3x3 or 5x5.")
    gradient = resolve_gradient(gradient)
    if kernel.shape[:2] == (1, 1):
        return x @ kernel[0, 0]
    convolve: Callable[[Array, Array], Array] = _with_matmul_gradient if gradient == "matmul" else partial(_plain)
    return convolve(x, kernel)

"""Transposed convolution of channels-last images: the adjoint of a convolution with stride."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exflow.nn.convolution import convolution


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def transposed_convolution(
    x: Float[Array, "batch height width num_in"],
    kernel: Float[Array, "kernel_height kernel_width num_out num_in"],
    stride: int,
    padding: tuple[int, int],
    gradient: str = "plain",
) -> Float[Array, "batch out_height out_width num_out"]:
    """The adjoint of `convolution` with the same kernel, which makes images `stride` times as high and wide.

    It is computed as the gradient of a convolution with respect to its input, and its own gradients are a convolution
    and a gradient with respect to a kernel, so that `gradient` chooses the form of all three.

    Args:
      x: Images, channels last.
      kernel: Filters of the convolution that maps images of the output's shape to ones of the input's.
      stride: Of that convolution.
      padding: Of that convolution, above and below, and left and right.
      gradient: See `exflow.nn.convolution.convolution`; there is no forward mode.

    Returns:
      Images of height `stride * height` and width `stride * width`.
    """
    large = jnp.zeros((x.shape[0], stride * x.shape[1], stride * x.shape[2], kernel.shape[2]), x.dtype)
    return jax.vjp(lambda u: convolution(u, kernel, stride, padding, gradient), large)[1](x)[0]


def _forward(
    x: Array, kernel: Array, stride: int, padding: tuple[int, int], gradient: str
) -> tuple[Array, tuple[Array, Array]]:
    return transposed_convolution(x, kernel, stride, padding, gradient), (x, kernel)


def _backward(
    stride: int, padding: tuple[int, int], gradient: str, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    of_input, pull = jax.vjp(lambda k: convolution(dy, k, stride, padding, gradient), kernel)
    return of_input, pull(x)[0]


transposed_convolution.defvjp(_forward, _backward)

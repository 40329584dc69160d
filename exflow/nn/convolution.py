"""Convolution of channels-last images with a choice of how its gradients are computed.

XLA's CPU backend is fast at a convolution forward. Two of its gradients are slow there: that with respect to the
kernel, which transposes whole batches (inside `lax.scan` it is a naive loop), and that with respect to the input of a
convolution with stride, which multiplies zeros. Here both can be written as convolutions that XLA computes as fast as
forward ones. `benchmarks/bench_convolution.py` measures the choices.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Sides = tuple[tuple[int, int], tuple[int, int]]  # zeros above and below, and left and right
GRADIENTS = ("plain", "matmul", "forward")
LEAST_IMAGES = 64  # in a slice of the batch for the gradient of the kernel


def resolve_gradient(gradient: str, in_loop: bool = False) -> str:
    """Turn "auto" into `fastest_gradient` inside a loop, where a CPU is slowest at XLA's own, and into "plain" outside.

    Raises:
      ValueError: `gradient` is unknown.
    """
    if gradient not in ("auto", *GRADIENTS):
        raise ValueError(f"gradient: expected one of {('auto', *GRADIENTS)}, got {gradient!r}.")
    if gradient == "auto":
        return fastest_gradient() if in_loop else "plain"
    return gradient


def fastest_gradient() -> str:
    """The fastest for reverse mode, in and outside of loops; forward mode (`jax.jvp`) knows "plain" only."""
    return "forward" if jax.default_backend() == "cpu" else "plain"


def convolution(
    x: Float[Array, "batch height width num_in"],
    kernel: Float[Array, "kernel_height kernel_width num_in num_out"],
    stride: int = 1,
    padding: tuple[int, int] = (0, 0),
    gradient: str = "plain",
) -> Float[Array, "batch out_height out_width num_out"]:
    """Convolve.

    Args:
      x: Images, channels last.
      kernel: Filters.
      stride: Step in both directions.
      padding: Zeros above and below, and left and right.
      gradient: "plain" (XLA's own), "matmul" (of the kernel: one matrix product per kernel position), "forward" (of
        the kernel: a convolution whose positions are the channels; of the input: one convolution per residue of its
        position by the stride), or "auto", see `resolve_gradient`. The values agree; only "plain" has forward mode.

    Returns:
      Filtered images.

    Raises:
      ValueError: `gradient` is unknown.
    """
    gradient = resolve_gradient(gradient)
    if kernel.shape[:2] == (1, 1) and stride == 1 and padding == (0, 0):
        return x @ kernel[0, 0]
    if gradient == "plain" or min(kernel.shape[:2]) < stride:
        return _plain(x, kernel, stride, _around(padding))
    return _chosen(x, kernel, stride, padding, gradient)


def same_convolution(
    x: Float[Array, "batch height width num_in"],
    kernel: Float[Array, "kernel_height kernel_width num_in num_out"],
    gradient: str = "plain",
) -> Float[Array, "batch height width num_out"]:
    """`convolution` with stride one and zeros around, so that height and width stay.

    Raises:
      ValueError: The kernel has an even side, or `gradient` is unknown.
    """
    if kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
        raise ValueError(f"kernel: expected odd height and width, got {kernel.shape[:2]}. Use 1x1, 3x3 or 5x5.")
    return convolution(x, kernel, 1, (kernel.shape[0] // 2, kernel.shape[1] // 2), gradient)


def _plain(x: Array, kernel: Array, stride: int, sides: Sides, taps: tuple[int, int] = (1, 1)) -> Array:
    """XLA's own; `taps`: distances between the entries of x that neighbouring entries of the kernel meet."""
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), sides, rhs_dilation=taps, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _around(padding: tuple[int, int]) -> Sides:
    height, width = padding
    return (height, height), (width, width)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _chosen(x: Array, kernel: Array, stride: int, padding: tuple[int, int], gradient: str) -> Array:
    del gradient
    return _plain(x, kernel, stride, _around(padding))


def _forward(x: Array, kernel: Array, stride: int, padding: tuple[int, int], gradient: str) -> tuple[Array, Any]:
    return _chosen(x, kernel, stride, padding, gradient), (x, kernel)


def _backward(
    stride: int, padding: tuple[int, int], gradient: str, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    of_kernel = _kernel_gradient_by_products if gradient == "matmul" else _kernel_gradient_forward
    return _input_gradient(x, kernel, stride, padding, dy), of_kernel(x, kernel, stride, padding, dy)


_chosen.defvjp(_forward, _backward)


def _input_gradient(x: Array, kernel: Array, stride: int, padding: tuple[int, int], dy: Array) -> Array:
    """Convolutions of dy with the taps that meet each residue of the input's position by the stride."""
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    vertical, horizontal = (
        [
            _residue(n, kernel.shape[axis], stride, padding[axis], x.shape[axis + 1], dy.shape[axis + 1])
            for n in range(stride)
        ]
        for axis in (0, 1)
    )
    rows = []
    for row_taps, above_below in vertical:
        columns = [_plain(dy, flipped[row_taps, taps], 1, (above_below, sides)) for taps, sides in horizontal]
        rows.append(jnp.stack(columns, axis=3))
    interleaved = jnp.stack(rows, axis=2)
    batch, height, _, width, _, channels = interleaved.shape
    whole = interleaved.reshape(batch, height * stride, width * stride, channels)
    return whole[:, : x.shape[1], : x.shape[2]]


def _residue(
    residue: int, size: int, stride: int, padding: int, length: int, out: int
) -> tuple[slice, tuple[int, int]]:
    """Taps of the flipped kernel that meet input positions stride t + residue, and zeros on both sides of dy.

    Tap r of output o meets position stride o - padding + r, so that o = t + (residue + padding - r) / stride.
    """
    taps = range((residue + padding) % stride, size, stride)
    offsets = [(residue + padding - tap) // stride for tap in taps]
    positions = -(-length // stride)
    flipped = slice((size - 1 - taps[-1]), size - taps[0], stride)
    return flipped, (-min(offsets), positions - out + max(offsets))


def _kernel_gradient_forward(x: Array, kernel: Array, stride: int, padding: tuple[int, int], dy: Array) -> Array:
    """Sum over slices of the batch of `_kernel_gradient_of`; transposing a slice stays in the cache.

    Slices run through the whole batch, so that each of them lies on all devices over which the batch is spread.
    """
    number = max(n for n in range(1, len(x) + 1) if len(x) % n == 0 and (n == 1 or len(x) // n >= LEAST_IMAGES))
    xs, dys = (value.reshape(-1, number, *value.shape[1:]) for value in (x, dy))
    parts = [_kernel_gradient_of(xs[:, n], kernel, stride, padding, dys[:, n]) for n in range(number)]
    return sum(parts[1:], parts[0])


def _kernel_gradient_of(x: Array, kernel: Array, stride: int, padding: tuple[int, int], dy: Array) -> Array:
    """A convolution of x, as one picture [height, width * channels] with the images as its channels, with dy.

    Steps of one channel are positions and steps of one pixel are the taps, so the output is [taps, taps * channels].
    """
    batch, height, width, channels = x.shape
    picture = lax.optimization_barrier(x.transpose(1, 2, 3, 0)).reshape(1, height, width * channels, batch)
    filters = lax.optimization_barrier(dy.transpose(1, 2, 0, 3))
    below, right = (
        size + stride * (out - 1) - length - side
        for size, side, length, out in zip(kernel.shape[:2], padding, (height, width), dy.shape[1:3], strict=True)
    )
    sides = (padding[0], below), (channels * padding[1], channels * right)
    out = _plain(picture, filters, 1, sides, taps=(stride, stride * channels))
    return out.reshape(kernel.shape)


def _kernel_gradient_by_products(x: Array, kernel: Array, stride: int, padding: tuple[int, int], dy: Array) -> Array:
    """One matrix product per kernel position."""
    kernel_height, kernel_width, num_in, num_out = kernel.shape
    height, width = (stride * (out - 1) + 1 for out in dy.shape[1:3])
    padded = jnp.pad(x, ((0, 0), *((side, side) for side in padding), (0, 0)))
    flat = dy.reshape(-1, num_out)
    taps = [
        padded[:, row : row + height : stride, column : column + width : stride].reshape(-1, num_in).T @ flat
        for row in range(kernel_height)
        for column in range(kernel_width)
    ]
    return jnp.stack(taps).reshape(kernel.shape)

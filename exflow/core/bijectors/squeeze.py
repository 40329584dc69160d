"""Reshaping bijectors of multi-scale flows: squeeze, factor-out, flatten."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from exflow.core.bijectors.bijector import Bijector, no_params
from exflow.typing import Params, PRNGKey


def space_to_depth(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch h w c"]:
    """Move 2x2 blocks into channels: output channel (2 dy + dx) * channels + c for row dy and column dx of a block."""
    batch, height, width, channels = x.shape
    if height % 2 or width % 2:
        raise ValueError(f"x: expected even height and width, got {height} x {width}. Resize or pad the images.")
    blocks = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // 2, width // 2, 4 * channels)


def depth_to_space(z: Float[Array, "batch h w c"]) -> Float[Array, "batch height width channels"]:
    """Inverse of `space_to_depth`."""
    batch, height, width, channels = z.shape
    if channels % 4:
        raise ValueError(f"z: expected channels divisible by 4, got {channels}. Pass an output of space_to_depth.")
    blocks = z.reshape(batch, height, width, 2, 2, channels // 4)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height, 2 * width, channels // 4)


def squeezed_shape(shape: tuple[int, int, int], times: int = 1) -> tuple[int, int, int]:
    """Event shape (height, width, channels) after `times` squeezes; factor-outs do not change it."""
    height, width, channels = shape
    if height % 2**times or width % 2**times:
        raise ValueError(
            f"shape: expected height and width divisible by {2**times}, got {height} x {width}. Use fewer scales."
        )
    return height // 2**times, width // 2**times, channels * 4**times


def squeeze() -> Bijector:
    """2x2 space-to-depth of `[batch, height, width, channels]`; volume-preserving, no parameters."""

    def forward(params: Params, x: Array, context=None):
        return space_to_depth(x), jnp.zeros(x.shape[0], x.dtype)

    def inverse(params: Params, z: Array, context=None):
        return depth_to_space(z), jnp.zeros(z.shape[0], z.dtype)

    return Bijector(no_params, forward, inverse)


def flatten(event_shape: tuple[int, ...]) -> Bijector:
    """Row-major `[batch, *event_shape]` -> `[batch, dim]`; the inverse needs `event_shape` (see `squeezed_shape`)."""

    def forward(params: Params, x: Array, context=None):
        if x.shape[1:] != tuple(event_shape):
            raise ValueError(
                f"x: expected [batch, {', '.join(map(str, event_shape))}], got {x.shape}. Fix event_shape."
            )
        return x.reshape(x.shape[0], math.prod(event_shape)), jnp.zeros(x.shape[0], x.dtype)

    def inverse(params: Params, z: Array, context=None):
        return z.reshape(z.shape[0], *event_shape), jnp.zeros(z.shape[0], z.dtype)

    return Bijector(no_params, forward, inverse)


def factor_out(inner: Bijector) -> Bijector:
    """Let the first half of the channels out and send the second half through `inner`.

    The result is `concat([first half, inner(second half)])` along channels; the first half is squeezed as often as
    needed to match the spatial size of the inner output. Nesting gives any number of scales. Because `inner` keeps the
    number of entries, both parts have equally many channels in the result, which is how the inverse finds them.

    Args:
      inner: Map of `[batch, height, width, channels / 2]` to an image that is smaller by a power of two or as large.

    Returns:
      A bijector with the params of `inner`.

    Source: Dinh et al. 2017, arXiv:1605.08803, section 3.6; layout of the BRUNO repository.
    """

    def halves(x):
        channels = x.shape[-1]
        if channels % 2:
            raise ValueError(f"x: expected an even number of channels, got {channels}. Squeeze before factor_out.")
        return x[..., : channels // 2], x[..., channels // 2 :]

    def init(key: PRNGKey, x: Array, context=None) -> Params:
        return inner.init(key, halves(x)[1], context)

    def forward(params: Params, x: Array, context=None):
        out, rest = halves(x)
        rest, log_det = inner.forward(params, rest, context)
        while out.shape[1] > rest.shape[1]:
            out = space_to_depth(out)
        return jnp.concatenate([out, rest], axis=-1), log_det

    def inverse(params: Params, z: Array, context=None):
        out, rest = halves(z)
        rest, log_det = inner.inverse(params, rest, context)
        while out.shape[1] < rest.shape[1]:
            out = depth_to_space(out)
        return jnp.concatenate([out, rest], axis=-1), log_det

    return Bijector(init, forward, inverse)

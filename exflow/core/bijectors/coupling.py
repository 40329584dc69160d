"""Masked affine coupling layers and their masks."""

import math
from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from exflow.core.bijectors.bijector import Bijector
from exflow.typing import Network, Params, PRNGKey

Shape = tuple[int, ...]
Mask = Bool[np.ndarray, "*event"]
MaskFunction = Callable[[Shape], Mask]


def checkerboard_mask(shape: Shape, parity: int) -> Mask:
    """True (passes through) where row + column is odd (`parity` 0) or even (`parity` 1).

    `shape` is height, width, channels; all channels are alike.
    """
    height, width, _ = shape
    odd = (np.arange(height)[:, np.newaxis] + np.arange(width)[np.newaxis, :]) % 2 == 1
    return np.broadcast_to((odd ^ bool(_parity(parity)))[:, :, np.newaxis], shape)


def channel_mask(shape: Shape, parity: int) -> Mask:
    """True in the first half of the channels (`parity` 0) or in the second (`parity` 1); channels are the last axis."""
    if shape[-1] % 2:
        raise ValueError(f"shape: expected an even number of channels, got {shape}. Squeeze before a channel coupling.")
    first = np.arange(shape[-1]) < shape[-1] // 2
    return np.broadcast_to(first ^ bool(_parity(parity)), shape)


def alternate_mask(shape: Shape, parity: int) -> Mask:
    """True where the row-major flat index is odd (`parity` 0: even entries change) or even (`parity` 1)."""
    odd = np.arange(int(np.prod(shape))) % 2 == 1
    return (odd ^ bool(_parity(parity))).reshape(shape)


def _parity(parity: int) -> int:
    if parity not in (0, 1):
        raise ValueError(f"parity: expected 0 or 1, got {parity}.")
    return parity


def checkerboard(parity: int) -> MaskFunction:
    """`checkerboard_mask` for whatever image shape the coupling meets."""
    return partial(checkerboard_mask, parity=_parity(parity))


def channel(parity: int) -> MaskFunction:
    """`channel_mask` for whatever shape the coupling meets."""
    return partial(channel_mask, parity=_parity(parity))


def alternate(parity: int) -> MaskFunction:
    """`alternate_mask` (the dense even/odd mask) for whatever shape the coupling meets."""
    return partial(alternate_mask, parity=_parity(parity))


def flat_checkerboard(shape: Shape, parity: int) -> Mask:
    """`checkerboard_mask` of images of `shape`, for couplings that see them flattened."""
    return checkerboard_mask(shape, parity).reshape(-1)


def resolved_mask(mask: Mask | MaskFunction, x: Array) -> Bool[np.ndarray, "1 *event"]:
    """The mask for a batch `[batch, *event]`, with a batch axis of length one.

    Raises:
      ValueError: It is not a boolean array of the event shape.
    """
    shape = x.shape[1:]
    array = np.asarray(mask(shape) if callable(mask) else mask)
    if array.shape != shape or array.dtype != np.bool_:
        raise ValueError(f"mask: expected bool {shape}, got {array.dtype} {array.shape}. Leave the batch axis out.")
    return array[np.newaxis]


def sum_over_event(x: Float[Array, "batch *event"]) -> Float[Array, " batch"]:
    """Sum over all axes but the first."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:])).sum(axis=-1)


def affine_coupling(mask: Mask | MaskFunction, conditioner: Network, learned_range: bool = False) -> Bijector:
    """Affine coupling: entries where the mask is True pass through and transform the others.

    z = x where the mask is True, else x * exp(log_scale) + shift, with log_scale = range * tanh(raw_log_scale) and
    (raw_log_scale, shift) = conditioner(masked x). This function applies the tanh, so each factor lies in (1/e, e) for
    range 1, whatever the network returns; zero heads give the identity. Outputs of the network in a lower precision are
    converted to the precision of x first.

    Args:
      mask: Boolean array of the event shape, or a function from event shape to such an array, so that a chain can be
        built before shapes are known: `checkerboard(0)`, `channel(1)`, `alternate(0)`.
      conditioner: Network with `init(key, masked_x, context)` and `apply(params, masked_x, context)` returning
        (raw_log_scale, shift), both of the shape of x.
      learned_range: Learn the range, one per entry of the last axis (channel of an image), starting at 1. Otherwise it
        is 1.

    Returns:
      A bijector with the params of the network, or `{"conditioner", "range"}` with a learned range.

    Source: Dinh et al. 2017, arXiv:1605.08803, equations 7 and 8 and section 4.1 (learned range); range 1 of Korshunova
    et al. 2018, arXiv:1802.07535.
    """

    def log_scale_and_shift(params, masked, context, keep):
        network_params = params["conditioner"] if learned_range else params
        raw_log_scale, shift = conditioner.apply(network_params, masked, context)
        if raw_log_scale.shape != masked.shape or shift.shape != masked.shape:
            raise ValueError(
                f"conditioner: expected two outputs of shape {masked.shape}, got {raw_log_scale.shape} and "
                f"{shift.shape}. Return (raw_log_scale, shift) with the shape of x."
            )
        log_scale = jnp.tanh(raw_log_scale.astype(masked.dtype))
        if learned_range:
            log_scale = log_scale * params["range"].reshape((1,) * (masked.ndim - 1) + (-1,))
        return jnp.where(keep, 0.0, log_scale), jnp.where(keep, 0.0, shift.astype(masked.dtype))

    def init(key: PRNGKey, x: Float[Array, "batch *event"], context=None) -> Params:
        params = conditioner.init(key, jnp.where(resolved_mask(mask, x), x, 0.0), context)
        return {"conditioner": params, "range": jnp.ones(x.shape[-1], x.dtype)} if learned_range else params

    def forward(params: Params, x: Float[Array, "batch *event"], context=None):
        keep = resolved_mask(mask, x)
        log_scale, shift = log_scale_and_shift(params, jnp.where(keep, x, 0.0), context, keep)
        return x * jnp.exp(log_scale) + shift, sum_over_event(log_scale)

    def inverse(params: Params, z: Float[Array, "batch *event"], context=None):
        keep = resolved_mask(mask, z)
        log_scale, shift = log_scale_and_shift(params, jnp.where(keep, z, 0.0), context, keep)
        return (z - shift) * jnp.exp(-log_scale), -sum_over_event(log_scale)

    return Bijector(init, forward, inverse)

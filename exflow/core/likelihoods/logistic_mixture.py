"""Probabilities of 256 pixel values under a mixture of ten logistic laws on [-1, 1], colours coupled linearly.

A pixel of an RGB image has 100 outputs: 10 mixture logits, then for each of the colours red, green, blue 10 means, 10
log scales and 10 raw coefficients. With k = tanh(raw coefficient), stored with the colour in its index, the mean of
green is m_G + k_R x_R and that of blue m_B + k_G x_R + k_B x_G. A grey pixel has 30 outputs: logits, means, log scales.
Values are bin centres (`exflow.core.likelihoods.pixel_bins`).

Bins are scored and drawn exactly. The original code puts the density at the centre times the width in the place of
probabilities up to 1e-5, and lets continuous colours shift the later ones, unlike the pixels it scores.

Source: Salimans et al. 2017, arXiv:1701.05517, section 2.1 and 2.2.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exflow.core.likelihoods.pixel_bins import HALF_BIN, log_bin_probability, nearest_center
from exflow.errors import UserError
from exflow.typing import PRNGKey

NUM_MIXTURES = 10
MIN_LOG_SCALE = -7.0
_OUTPUTS = {1: 3 * NUM_MIXTURES, 3: 10 * NUM_MIXTURES}  # by number of channels


class _Components(NamedTuple):
    """The parts of the outputs."""

    logits: Float[Array, "*lead mixture"]
    means: Float[Array, "*lead channel mixture"]
    log_scales: Float[Array, "*lead channel mixture"]
    coefficients: Float[Array, "*lead channel mixture"]  # k; zeros for grey pixels, which have none


def num_outputs(channels: int) -> int:
    """Outputs per pixel: 30 for grey images, 100 for RGB.

    Raises:
      UserError: For any other number of channels.
    """
    if channels not in _OUTPUTS:
        raise UserError(
            f"logistic_mixture: expected images of 1 or 3 channels, got {channels}. Use discretized_gaussian."
        )
    return _OUTPUTS[channels]


def _components(outputs: Array) -> _Components:
    logits, rest = outputs[..., :NUM_MIXTURES], outputs[..., NUM_MIXTURES:]
    kinds = 3 if outputs.shape[-1] == _OUTPUTS[3] else 2
    parts = rest.reshape(*outputs.shape[:-1], -1, kinds, NUM_MIXTURES)
    log_scales = jnp.maximum(parts[..., 1, :], MIN_LOG_SCALE)
    coefficients = jnp.tanh(parts[..., 2, :]) if kinds == 3 else jnp.zeros_like(log_scales)
    return _Components(logits, parts[..., 0, :], log_scales, coefficients)


def _shift(coefficients: Array, earlier: list[Array]) -> Array | float:
    """What the earlier colours, [..., mixture] each, add to the mean of the next one."""
    if not earlier:
        return 0.0
    if len(earlier) == 1:
        return coefficients[..., 0, :] * earlier[0]
    return coefficients[..., 1, :] * earlier[0] + coefficients[..., 2, :] * earlier[1]


def log_prob(
    outputs: Float[Array, "*#lead height width outputs"], values: Float[Array, "*#lead height width channels"]
) -> Float[Array, "..."]:
    """ln P(pixels) summed over an image; nats."""
    logits, means, log_scales, coefficients = _components(outputs)
    colors = [values[..., c, jnp.newaxis] for c in range(values.shape[-1])]
    shifts = [_shift(coefficients, colors[:c]) for c in range(len(colors))]
    per_mixture = jax.nn.log_softmax(logits)
    for c, (color, shift) in enumerate(zip(colors, shifts, strict=True)):
        residual, log_scale = color - (means[..., c, :] + shift), log_scales[..., c, :]
        lower, upper = ((residual + side) * jnp.exp(-log_scale) for side in (-HALF_BIN, HALF_BIN))
        log_gap = math.log(2.0 * HALF_BIN) - log_scale
        per_mixture = per_mixture + log_bin_probability(color, lower, upper, log_gap)
    return jax.nn.logsumexp(per_mixture, axis=-1).sum(axis=(-2, -1))


def mean(outputs: Float[Array, "*lead outputs"]) -> Float[Array, "*lead channels"]:
    """Mixture of the means of the components, each clipped to [-1, 1] before it shifts the later colours."""
    logits, means, _, coefficients = _components(outputs)
    colors = []
    for c in range(means.shape[-2]):
        colors.append(jnp.clip(means[..., c, :] + _shift(coefficients, colors), -1.0, 1.0))
    return (jnp.stack(colors, axis=-2) * jax.nn.softmax(logits)[..., jnp.newaxis, :]).sum(axis=-1)


def sample(key: PRNGKey, outputs: Float[Array, "*lead outputs"]) -> Float[Array, "*lead channels"]:
    """Bin centres with exactly the probabilities of `log_prob`."""
    component_key, noise_key = jax.random.split(key)
    logits, *parts = _components(outputs)
    chosen = jax.random.categorical(component_key, logits)[..., jnp.newaxis, jnp.newaxis]
    means, log_scales, coefficients = (jnp.take_along_axis(part, chosen, axis=-1) for part in parts)
    noise = jax.random.logistic(noise_key, means.shape, means.dtype) * jnp.exp(log_scales)
    colors = []
    for c in range(means.shape[-2]):
        colors.append(nearest_center(means[..., c, :] + _shift(coefficients, colors) + noise[..., c, :]))
    return jnp.concatenate(colors, axis=-1)

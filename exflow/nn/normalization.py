"""Batch normalisation that ignores masked elements, and its alternatives that do not depend on the batch.

Running averages live in the Flax collection "batch_stats". Source: Ioffe & Szegedy 2015, arXiv:1502.03167; Wu & He
2018, arXiv:1803.08494 (group).
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

NORMALIZATIONS = ("batch", "global_batch", "group", "none")
GROUPS = 8


class Moments(NamedTuple):
    """Of a batch, with the axes of the features that were normalised."""

    mean: Float[Array, "..."]
    variance: Float[Array, "..."]  # biased
    count: Float[Array, ""]  # entries per mean


class Normalization(nn.Module):
    """Normalise channels-last features over the elements that exist.

    Attributes:
      kind: "batch": per channel (epsilon 1e-5, the running averages move by 0.1 of each batch). "global_batch": with
        one mean, variance, gain and bias for the whole array (epsilon 1e-3, 0.01), as the Neural Statistician treats
        the outputs of its moment heads (Edwards & Storkey 2017, arXiv:1606.02185). "group": per element, position
        and group of channels, whatever else is in the batch. "none": nothing.
    """

    kind: str

    @nn.compact
    def __call__(
        self, x: Float[Array, "... channels"], mask: Bool[Array, "..."] | None, train: bool
    ) -> Float[Array, "... channels"]:
        """Normalise.

        Args:
          x: Features.
          mask: Leading axes of x; False where an element does not exist. None: all exist.
          train: Whether to use the moments of the batch and to update the running averages.

        Returns:
          Features of the same shape and type; moments are computed in float32 at least.
        """
        if self.kind not in NORMALIZATIONS:
            raise ValueError(f"kind: expected one of {NORMALIZATIONS}, got {self.kind!r}.")
        if self.kind == "none":
            return x
        given, x = x.dtype, x.astype(jnp.promote_types(x.dtype, jnp.float32))
        whole = self.kind == "global_batch"
        shape = () if whole else (x.shape[-1],)
        gain = self.param("gain", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        per_channel = (1,) * (x.ndim - 1) + (-1,)
        gain, bias = (value.reshape((1,) * x.ndim if whole else per_channel) for value in (gain, bias))
        if self.kind == "group":
            return (_group_normalize(x) * gain + bias).astype(given)
        first = not self.has_variable("batch_stats", "mean")  # while parameters are created
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_variance = self.variable("batch_stats", "variance", jnp.ones, shape)
        epsilon, step = (1e-3, 0.01) if whole else (1e-5, 0.1)
        if train or first:
            axes = tuple(range(x.ndim)) if whole else tuple(range(x.ndim - 1))
            normalized: Any = batch_normalize(x, gain, bias, mask, axes, epsilon)
            out, (mean, variance, count) = normalized
            if not first:
                unbiased = variance * count / jnp.maximum(count - 1, 1)
                running_mean.value += step * (mean.reshape(shape) - running_mean.value)
                running_variance.value += step * (unbiased.reshape(shape) - running_variance.value)
            return out.astype(given)
        mean, variance = (
            value.reshape((1,) * x.ndim if whole else per_channel)
            for value in (running_mean.value, running_variance.value)
        )
        return ((x - mean) * (jax.lax.rsqrt(variance + epsilon) * gain) + bias).astype(given)


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def batch_normalize(
    x: Float[Array, "... channels"],
    gain: Float[Array, "... features"],
    bias: Float[Array, "... features"],
    mask: Bool[Array, "..."] | None,
    axes: tuple[int, ...],
    epsilon: float,
) -> tuple[Float[Array, "... channels"], Moments]:
    """(x - mean) / sqrt(variance + epsilon) * gain + bias with the moments over `axes` of the elements that exist.

    The gradient is written out (Ioffe & Szegedy 2015, section 3): it reads x and the incoming gradient twice, where the
    derivative of the moments step by step passes over arrays of the size of x a dozen times.

    Args:
      x: Features.
      gain: One value, or one per channel, with as many axes as x.
      bias: Likewise.
      mask: Leading axes of x; elements where it is False count in no moment and may hold anything. None: all exist.
      axes: Over which moments are taken; all but the last, or all.
      epsilon: Added to the variance.

    Returns:
      Normalised features, also of elements that do not exist; and the moments, through which no gradient flows.
    """
    moments = _moments(x, mask, axes)
    return (x - moments.mean) * (jax.lax.rsqrt(moments.variance + epsilon) * gain) + bias, moments


def _batch_normalize_forward(x: Array, gain: Array, bias: Array, mask: Array | None, axes: Any, epsilon: float) -> Any:
    normalized: Any = batch_normalize(x, gain, bias, mask, axes, epsilon)
    return normalized, (x, gain, mask, normalized[1])


def _batch_normalize_backward(axes: tuple[int, ...], epsilon: float, residuals: Any, gradients: Any) -> Any:
    """With s the inverse deviation, u = (x - mean) s and n the count: dx = gain s (dy - (sum dy + u sum(dy u)) / n)."""
    (x, gain, mask, moments), (dy, _) = residuals, gradients
    inverse = jax.lax.rsqrt(moments.variance + epsilon)
    u = (x - moments.mean) * inverse
    bias_gradient, gain_gradient = dy.sum(axis=axes, keepdims=True), (dy * u).sum(axis=axes, keepdims=True)
    through_moments = (bias_gradient + u * gain_gradient) / moments.count
    if mask is not None:
        through_moments = jnp.where(_beside(mask, x), through_moments, 0.0)
    return gain * inverse * (dy - through_moments), gain_gradient, bias_gradient, None


batch_normalize.defvjp(_batch_normalize_forward, _batch_normalize_backward)


def _moments(x: Array, mask: Array | None, axes: tuple[int, ...]) -> Moments:
    """Moments over the entries whose element exists, axes kept; sums within an element come first."""
    within = tuple(axis for axis in axes if mask is not None and axis >= mask.ndim)
    between = tuple(axis for axis in axes if axis not in within)
    per_element = math.prod(x.shape[axis] for axis in within)
    if mask is None:
        count = jnp.asarray(max(math.prod(x.shape[axis] for axis in axes), 1), x.dtype)
    else:
        count = jnp.maximum(mask.sum(dtype=x.dtype) * per_element, 1)

    def mean_of(values: Array) -> Array:
        sums = values.sum(axis=within, keepdims=True)
        sums = sums if mask is None else jnp.where(_beside(mask, sums), sums, 0.0)
        return sums.sum(axis=between, keepdims=True) / count

    mean = mean_of(x)
    return Moments(mean, mean_of((x - mean) ** 2), count)


def _beside(mask: Array, x: Array) -> Array:
    """The mask with as many axes as x."""
    return mask.reshape(*mask.shape, *(1,) * (x.ndim - mask.ndim))


def _group_normalize(x: Array) -> Array:
    """Zero mean and unit variance of every group of channels at every position."""
    groups = GROUPS if x.shape[-1] % GROUPS == 0 else 1
    grouped = x.reshape(*x.shape[:-1], groups, -1)
    mean, variance = grouped.mean(axis=-1, keepdims=True), grouped.var(axis=-1, keepdims=True)
    return ((grouped - mean) * jax.lax.rsqrt(variance + 1e-5)).reshape(x.shape)

"""Batch normalisation that ignores masked elements, and its alternatives that do not depend on the batch.

Running averages live in the Flax collection "batch_stats". Source: Ioffe & Szegedy 2015, arXiv:1502.03167; Wu & He
2018, arXiv:1803.08494 (group).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

NORMALIZATIONS = ("batch", "global_batch", "group", "none")
GROUPS = 8


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
            mean, variance, count = _moments(x, mask, tuple(range(x.ndim)) if whole else tuple(range(x.ndim - 1)))
            if not first:
                unbiased = variance * count / jnp.maximum(count - 1, 1)
                running_mean.value += step * (jax.lax.stop_gradient(mean) - running_mean.value)
                running_variance.value += step * (jax.lax.stop_gradient(unbiased) - running_variance.value)
        else:
            mean, variance = running_mean.value, running_variance.value
        mean, variance = (value.reshape((1,) * x.ndim if whole else per_channel) for value in (mean, variance))
        return ((x - mean) * jax.lax.rsqrt(variance + epsilon) * gain + bias).astype(given)


def _moments(x: Array, mask: Array | None, axes: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """Mean, biased variance and count over the entries whose element exists."""
    weight = jnp.ones((), x.dtype) if mask is None else mask.astype(x.dtype)
    weight = jnp.broadcast_to(weight.reshape(*weight.shape, *(1,) * (x.ndim - weight.ndim)), x.shape)
    x = jnp.where(weight > 0, x, 0.0)
    count = jnp.maximum(weight.sum(axis=axes), 1.0)
    mean = (weight * x).sum(axis=axes) / count
    centred = x - mean.reshape((1,) * (x.ndim - mean.ndim) + mean.shape)
    return mean, (weight * centred**2).sum(axis=axes) / count, count.reshape(-1)[0]


def _group_normalize(x: Array) -> Array:
    """Zero mean and unit variance of every group of channels at every position."""
    groups = GROUPS if x.shape[-1] % GROUPS == 0 else 1
    grouped = x.reshape(*x.shape[:-1], groups, -1)
    mean, variance = grouped.mean(axis=-1, keepdims=True), grouped.var(axis=-1, keepdims=True)
    return ((grouped - mean) * jax.lax.rsqrt(variance + 1e-5)).reshape(x.shape)

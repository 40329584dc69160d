"""Layers of Matryoshka networks: linear maps of vectors and of maps, and the normalisation behind them."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from exflow.models.matnet.networks.plan import Style
from exflow.nn.convolution import convolution, fastest_gradient
from exflow.nn.normalization import batch_normalize
from exflow.nn.product import chosen_product
from exflow.nn.transposed_convolution import transposed_convolution

ACTIVATIONS = {
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.1),
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "identity": lambda x: x,
}
SCALE = 1.1  # of orthogonal kernels
DEVIATION = 0.02  # of normal kernels, and of gains around one
EPSILON = 1e-5
STEP = 0.1  # by which running averages move


class Mode(NamedTuple):
    """How a pass treats its batch."""

    train: bool = False
    mask: Bool[Array, " batch"] | None = None  # False where an element does not exist; None: all do


def activated(style: Style, x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Apply the activation of a style."""
    return ACTIVATIONS[style.activation](x)


class Map(nn.Module):
    """Linear map of vectors, or convolution of maps with zeros around, without bias.

    Attributes:
      features: Channels of the output.
      style: Of its kernel.
      taps: Spatial shape of the kernel, () of a dense layer.
      resampling: "" keeps height and width, "down" halves them (stride 2), "up" doubles them (the adjoint of "down").
      gain: Whether a learned factor per channel multiplies the output.
    """

    features: int
    style: Style
    taps: tuple[int, ...] = ()
    resampling: str = ""
    gain: bool = False

    @nn.compact
    def __call__(self, *inputs: Float[Array, "batch ..."]) -> Float[Array, "batch ... features"]:
        """The map of the inputs side by side, each multiplied with its own part of one kernel.

        So, where many draws of the latents meet the same features of images, the product of the features is computed
        once for all of them (`jax.vmap`).
        """
        widths = [x.shape[-1] for x in inputs]
        up = self.resampling == "up"
        shape = (*self.taps, self.features, sum(widths)) if up else (*self.taps, sum(widths), self.features)
        axis = -1 if up else -2

        # All parts are drawn as one, with one key; once there are parameters, only the shapes of initial ones matter
        whole = _kernel(self.style, self.make_rng("params"), shape) if self.is_initializing() else jnp.zeros(shape)
        gain = self.param("gain", _gains, (self.features,)) if self.gain else None
        parts = jnp.split(whole, np.cumsum(widths)[:-1], axis=axis)
        outputs = []
        for number, (x, part) in enumerate(zip(inputs, parts, strict=True)):
            kernel: Array = self.param(f"kernel{number or ''}", lambda _, part=part: part)
            outputs.append(self._apply(x, self._normalized(kernel, number)))
        out = sum(outputs[1:], outputs[0])
        return out if gain is None else out * _beside(gain, out)

    def _normalized(self, kernel: Array, number: int) -> Array:
        """V g / |V| with |V| of each output of this part of the kernel; g is |V| at the start."""
        if self.style.normalization != "weight":
            return kernel
        axes = tuple(n for n in range(kernel.ndim) if n != kernel.ndim - (2 if self.resampling == "up" else 1))
        length = jnp.sqrt((kernel**2).sum(axis=axes, keepdims=True) + 1e-12)
        gain: Array = self.param(f"weight_gain{number or ''}", lambda _: length.reshape(-1))
        return kernel * (gain.reshape(length.shape) / length)

    def _apply(self, x: Array, kernel: Array) -> Array:
        compute_dtype = self.style.compute_dtype
        if not self.taps:
            return chosen_product(compute_dtype != "float32")(x, kernel)
        if compute_dtype == "bfloat16":
            x, kernel = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
        padding = (self.taps[0] // 2, self.taps[1] // 2)
        if self.resampling == "up":
            out: Array = transposed_convolution(x, kernel, 2, padding, fastest_gradient())
        else:
            out = convolution(x, kernel, 2 if self.resampling == "down" else 1, padding, fastest_gradient())
        return out.astype(jnp.promote_types(out.dtype, jnp.float32))


class Norm(nn.Module):
    """g ((u - mean) / sqrt(variance + 1e-5) + noise) + b per channel, or u + noise + b without normalisation.

    In a dense layer whose output becomes maps every unit is a channel. Statistics are over the batch, and space.
    """

    style: Style
    scaled: bool = True  # False: never normalised, only a bias

    @nn.compact
    def __call__(self, u: Float[Array, "batch ... channels"], mode: Mode) -> Float[Array, "batch ... channels"]:
        """Normalise."""
        style, shape = self.style, u.shape[-1:]
        bias = _beside(self.param("bias", nn.initializers.zeros, shape), u)
        noise = 0.0
        if mode.train and style.noise:
            noise = style.noise * jax.random.normal(self.make_rng("noise"), u.shape, u.dtype)
        if not self.scaled or style.normalization in ("none", "weight"):
            return u + noise + bias
        gain = _beside(self.param("gain", _gains, shape), u)
        return self._normalized(u, gain, bias, mode) + gain * noise

    def _normalized(self, u: Array, gain: Array, bias: Array, mode: Mode) -> Array:
        if self.style.normalization == "batch_statistics":
            return _of_batch(u, gain, bias, mode)[0]
        first = not self.has_variable("batch_stats", "mean")  # while parameters are created
        mean = self.variable("batch_stats", "mean", jnp.zeros, u.shape[-1:])
        variance = self.variable("batch_stats", "variance", jnp.ones, u.shape[-1:])
        if not mode.train and not first:
            factor = _beside(jax.lax.rsqrt(variance.value + EPSILON), u) * gain
            return (u - _beside(mean.value, u)) * factor + bias
        out, moments = _of_batch(u, gain, bias, mode)
        if not first and self.is_mutable_collection("batch_stats"):
            unbiased = moments.variance * moments.count / jnp.maximum(moments.count - 1, 1)
            mean.value += STEP * (moments.mean.reshape(-1) - mean.value)
            variance.value += STEP * (unbiased.reshape(-1) - variance.value)
        return out


class Bias(nn.Module):
    """Add a bias per channel."""

    @nn.compact
    def __call__(self, u: Float[Array, "... channels"]) -> Float[Array, "... channels"]:
        """Add it."""
        return u + _beside(self.param("bias", nn.initializers.zeros, u.shape[-1:]), u)


class Plain(nn.Module):
    """phi(norm(map of the inputs side by side)); attributes as of `Map`."""

    features: int
    style: Style
    taps: tuple[int, ...] = ()
    resampling: str = ""
    scaled: bool = True

    @nn.compact
    def __call__(self, mode: Mode, *inputs: Float[Array, "batch ..."]) -> Float[Array, "batch ... features"]:
        """Apply the layer."""
        mapped = Map(self.features, self.style, self.taps, self.resampling)(*inputs)
        return activated(self.style, Norm(self.style, self.scaled)(mapped, mode))


def _of_batch(u: Array, gain: Array, bias: Array, mode: Mode) -> Any:
    return batch_normalize(u, gain, bias, mode.mask, tuple(range(u.ndim - 1)), EPSILON)


def _gains(key: Array, shape: tuple[int, ...]) -> Array:
    return 1.0 + DEVIATION * jax.random.normal(key, shape)


def _kernel(style: Style, key: Array, shape: tuple[int, ...]) -> Array:
    """An initial kernel whose last axis is the output's channels (of transposed convolutions the input's)."""
    if style.initialization == "normal":
        return DEVIATION * jax.random.normal(key, shape)
    flat = nn.initializers.orthogonal(SCALE)(key, (math.prod(shape[:-1]), shape[-1]))
    return flat.reshape(shape)


def _beside(values: Array, u: Array) -> Array:
    return values.reshape((1,) * (u.ndim - 1) + (-1,))

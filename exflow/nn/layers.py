"""Plain dense, convolutional and transposed layers with the initial values of the published set VAEs.

The original code (Giannone & Winther 2022) keeps the defaults of its framework, kernels and biases uniform within
1 / sqrt(fan_in): its Xavier initialisation runs before any layer exists. The Neural Statistician's experiments use
Xavier-normal kernels with gain sqrt(2) and zero biases.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from exflow.nn.convolution import convolution, fastest_gradient
from exflow.nn.initial_values import from_uniform

INITIALIZATIONS = ("uniform_fan_in", "uniform_fan_in_zero_bias", "xavier_normal")


class Linear(nn.Module):
    """Dense layer on the last axis, or convolution over the two axes before it.

    Attributes:
      features: Number of output channels.
      kernel_shape: Spatial shape of a convolution kernel, or () for a dense layer, which is also a 1x1 convolution.
      strides: Step of a convolution.
      padding: Zeros on every side of the image.
      initialization: "uniform_fan_in", the same with zero biases, or "xavier_normal" (gain sqrt(2), zero biases).
      kernel_scale: Factor on the initial kernel.
      compute_dtype: Type of operands and output (default: that of input and parameters together).
    """

    features: int
    kernel_shape: tuple[int, ...] = ()
    strides: int = 1
    padding: int = 1
    initialization: str = "uniform_fan_in"
    kernel_scale: float = 1.0
    compute_dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "... num_in"]) -> Float[Array, "... num_out"]:
        """Apply the layer; any leading axes, channels last."""
        shape = (*self.kernel_shape, x.shape[-1], self.features)
        fan_in, fan_out = math.prod(shape[:-1]), math.prod(self.kernel_shape) * self.features
        kernel = self.param("kernel", kernel_init(self, self.initialization, fan_in, fan_out, self.kernel_scale), shape)
        bias = self.param("bias", bias_init(self, self.initialization, fan_in), (self.features,))
        x, kernel, bias = _cast(self.compute_dtype, x, kernel, bias)
        if not self.kernel_shape:
            return x @ kernel + _like(bias, x)
        rows = x.reshape(-1, *x.shape[-3:])
        out = convolution(rows, kernel, self.strides, (self.padding, self.padding), fastest_gradient())
        return out.reshape(*x.shape[:-3], *out.shape[1:]) + _like(bias, x)


class Doubling(nn.Module):
    """Transposed convolution with 2x2 kernel and stride 2: every pixel becomes four, without overlap.

    Attributes:
      features: Number of output channels.
      initialization: See `Linear`; the fan-in of the original's framework is that of the output, 4 features.
      compute_dtype: See `Linear`.
    """

    features: int
    initialization: str = "uniform_fan_in"
    compute_dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "... height width num_in"]) -> Float[Array, "... height2 width2 num_out"]:
        """Apply the layer."""
        *leading, height, width, channels = x.shape
        kernel_law = "uniform_fan_in" if self.initialization == "xavier_normal" else self.initialization
        init = kernel_init(self, kernel_law, 4 * self.features, 0)
        kernel = self.param("kernel", init, (2, 2, channels, self.features))
        bias = self.param("bias", bias_init(self, "uniform_fan_in", 4 * self.features), (self.features,))
        x, kernel, bias = _cast(self.compute_dtype, x, kernel, bias)
        flat = x.reshape(-1, channels) @ kernel.transpose(2, 0, 1, 3).reshape(channels, -1)  # no transposed operands
        out = flat.reshape(-1, height, width, 2, 2, self.features).swapaxes(2, 3)
        out = out.reshape(*leading, 2 * height, 2 * width, self.features)
        return out + _like(bias, out)


def kernel_init(module: nn.Module, name: str, fan_in: int, fan_out: int, scale: float = 1.0) -> Any:
    """Initializer (key, shape) of a kernel of the module; see `Linear`."""
    if name not in INITIALIZATIONS:
        raise ValueError(f"initialization: expected one of {INITIALIZATIONS}, got {name!r}.")
    if name == "xavier_normal":
        deviation = math.sqrt(2.0) * math.sqrt(2.0 / (fan_in + fan_out)) * scale

        def law(u: Array) -> Array:
            return deviation * math.sqrt(2.0) * jax.scipy.special.erfinv(_open(u))

    else:
        bound = scale / math.sqrt(fan_in)

        def law(u: Array) -> Array:
            return bound * u

    return lambda key, shape: from_uniform(module, key, shape, law)


def bias_init(module: nn.Module, name: str, fan_in: int) -> Any:
    """Initializer (key, shape) of a bias of the module; see `Linear`."""
    return kernel_init(module, name, fan_in, 0) if name == "uniform_fan_in" else nn.initializers.zeros


def _cast(compute_dtype: Any, x: Array, *parameters: Array) -> tuple[Array, ...]:
    """Input and parameters in the type in which a layer computes."""
    dtype = compute_dtype or jnp.promote_types(x.dtype, parameters[0].dtype)
    return tuple(value.astype(dtype) for value in (x, *parameters))


def _open(u: Array) -> Array:
    """Keep uniform numbers off -1, whose normal quantile is infinite."""
    return jnp.maximum(u, jnp.nextafter(jnp.float32(-1.0), jnp.float32(0.0)))


def _like(values: Float[Array, " channels"], x: Array) -> Array:
    return values.reshape((1,) * (x.ndim - 1) + (-1,))

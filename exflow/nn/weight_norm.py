"""Weight-normalised dense and convolutional layers with data-dependent initialisation.

Source: Salimans & Kingma 2016, arXiv:1602.07868, equations 2 and 5, as BRUNO uses them (Korshunova et al. 2018).
Parameters that no longer change need no normalisation in every call: `folded` does it once.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from exflow.nn.convolution import same_convolution
from exflow.nn.product import chosen_product, of_every_second_row
from exflow.typing import Params

INITIALIZATIONS = ("original", "sequential")
CONVOLUTION_EPSILON = 1e-12  # added to the squared norm; the original guards convolutions only


class WeightNorm(nn.Module):
    """Layer w = g V / |V| with its norm per output unit, initialised so that the first batch has unit variance.

    With V from N(0, 0.05^2) and g = 1 the first batch gives pre-activations o with mean m and variance s^2 per unit;
    then g = 1 / s and bias = -m / s. Which activation the initialising pass hands to the next layer is a choice:

    Attributes:
      features: Number of output units.
      kernel_shape: Spatial shape of a convolution kernel, or () for a dense layer.
      initialization: "original" hands on the un-normalised o, as BRUNO's published code does, so that deeper layers are
        calibrated on inputs they will not see; "sequential" hands on (o - m) / s, as the weight normalisation paper
        describes.
      normalize: False gives the plain layer of BRUNO's experiments without weight normalisation: an orthogonal
        kernel, and bias 0 (convolution) or 0.01 (dense).
      gradient: Gradient of the convolution, see `exflow.nn.convolution`.
      frozen_bias: Whether the bias stays as initialised; it is then called "frozen_bias" and no optimizer changes it.
      dtype: Type in which the layer computes (default: that of its input); parameters are float32 at least.
      bfloat16_products: Whether a dense layer rounds the operands of its product, see `exflow.nn.product`.
      seen: 0 or 1 of a dense layer whose inputs are zero but at this one and every second behind it; None: any input.
    """

    features: int
    kernel_shape: tuple[int, ...] = ()
    initialization: str = "original"
    normalize: bool = True
    gradient: str = "plain"
    frozen_bias: bool = False
    dtype: Any = None
    bfloat16_products: bool = False
    seen: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "... num_in"]) -> Float[Array, "... num_out"]:
        """Apply the layer to channels-last inputs, `[batch, height, width, num_in]` for a convolution."""
        if self.initialization not in INITIALIZATIONS:
            raise ValueError(f"initialization: expected one of {INITIALIZATIONS}, got {self.initialization!r}.")
        shape = (*self.kernel_shape, x.shape[-1], self.features)
        if not self.normalize:
            return self._plain(x, shape)
        if self.has_variable("params", "kernel"):  # see `folded`
            return self._linear(x, self.get_variable("params", "kernel"), self.get_variable("params", "bias"))
        param_dtype = jnp.promote_types(x.dtype, jnp.float32)
        direction = self.param("direction", nn.initializers.normal(0.05), shape, param_dtype)
        epsilon = CONVOLUTION_EPSILON if self.kernel_shape else 0.0
        squared_norm = jnp.sum(direction**2, axis=tuple(range(direction.ndim - 1)), keepdims=True)
        unit_kernel = direction * jax.lax.rsqrt(squared_norm + epsilon)
        if not self.is_initializing():
            scale = self.param("scale", nn.initializers.ones, (self.features,), param_dtype)
            bias = self.param(self._bias_name, nn.initializers.zeros, (self.features,), param_dtype)
            bias = jax.lax.stop_gradient(bias) if self.frozen_bias else bias
            return self._linear(x, unit_kernel * per_unit(scale, unit_kernel), bias)
        pre_activation = self._linear(x, unit_kernel, jnp.zeros(self.features))
        pre_activation = pre_activation.astype(param_dtype)
        axes = tuple(range(x.ndim - 1))
        inverse_deviation = jax.lax.rsqrt(jnp.var(pre_activation, axis=axes) + 1e-10)
        mean = jnp.mean(pre_activation, axis=axes)
        scale = self.param("scale", lambda _: inverse_deviation)
        bias = self.param(self._bias_name, lambda _: -mean * inverse_deviation)
        if self.initialization == "original":
            return pre_activation.astype(x.dtype)
        normalized = pre_activation * per_unit(scale, pre_activation) + per_unit(bias, pre_activation)
        return normalized.astype(x.dtype)

    @property
    def _bias_name(self) -> str:
        return "frozen_bias" if self.frozen_bias else "bias"

    def _plain(self, x: Array, shape: tuple[int, ...]) -> Array:
        param_dtype = jnp.promote_types(x.dtype, jnp.float32)
        kernel = self.param("kernel", nn.initializers.orthogonal(), shape, param_dtype)
        initial_bias: Callable[..., Any] = nn.initializers.constant(0.0 if self.kernel_shape else 0.01)
        return self._linear(x, kernel, self.param("bias", initial_bias, (self.features,), param_dtype))

    def _linear(self, x: Array, kernel: Array, bias: Array) -> Array:
        dtype = self.dtype or x.dtype
        x, kernel, bias = x.astype(dtype), kernel.astype(dtype), bias.astype(dtype)
        if self.kernel_shape:
            product = same_convolution(x, kernel, self.gradient)
        else:
            multiply = chosen_product(self.bfloat16_products)
            multiply = multiply if self.seen is None else of_every_second_row(multiply, self.seen)
            product = multiply(x, kernel)
        return product + per_unit(bias, product)


def folded(params: Params) -> Params:
    """Parameters with every `WeightNorm` replaced by the plain layer that it is, for whoever only computes with them.

    Args:
      params: Any tree that may hold parameters of such layers, also stacked ones.

    Returns:
      The same tree with {"kernel", "bias"} for {"direction", "scale", "bias"}, kernels correctly rounded, as NumPy
      arrays. `WeightNorm` takes either; their outputs differ by rounding.
    """
    return jax.tree.map(lambda node: _folded(node) if _is_layer(node) else node, params, is_leaf=_is_layer)


def _is_layer(node: Any) -> bool:
    return isinstance(node, dict) and "direction" in node and "scale" in node


def _folded(layer: Params) -> Params:
    scale, direction = np.asarray(layer["scale"]), np.asarray(layer["direction"])
    wide, stacked = direction.astype(np.float64), scale.ndim - 1
    squared_norm = (wide**2).sum(axis=tuple(range(stacked, wide.ndim - 1)), keepdims=True)
    epsilon = CONVOLUTION_EPSILON if wide.ndim - stacked == 4 else 0.0
    kernel = wide / np.sqrt(squared_norm + epsilon) * scale.reshape(squared_norm.shape)
    (bias,) = (value for name, value in layer.items() if name in ("bias", "frozen_bias"))
    return {"kernel": kernel.astype(direction.dtype), "bias": bias}


def per_unit(values: Float[Array, " features"], like: Array) -> Array:
    """Give one value per unit the rank of an array whose last axis is the units."""
    return values.reshape((1,) * (like.ndim - 1) + (-1,))

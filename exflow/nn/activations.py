"""Activation functions that keep one array for the backward pass, and are quick to compute on a CPU."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


@jax.custom_jvp
def elu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Exponential linear unit: x above 0, exp(x) - 1 below; in (-1, inf), its relative error a few roundings.

    exp(x) - 1 is 2 t / (1 - t) with t = tanh(x / 2), which CPUs compute faster than `jnp.expm1`, and the derivative
    below 0 is the value plus one, so that the backward pass keeps no array of its own where the next layer keeps the
    value. Source: Clevert et al. 2016, arXiv:1511.07289, equation 16.
    """
    tangent = jnp.tanh(0.5 * jnp.minimum(x, 0.0))
    return jnp.where(x > 0, x, 2 * tangent / (1 - tangent))


@elu.defjvp
def _elu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    y = elu(*primals)
    return y, jnp.where(y > 0, 1.0, y + 1.0).astype(y.dtype) * tangents[0]


@jax.custom_jvp
def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Gaussian error linear unit x Phi(x) with the exact Phi, in [-0.17, inf); its error a rounding or two of x.

    Phi(x) is (1 + erf(x / sqrt(2))) / 2, in float32 or better: for CPUs cheaper than the complementary error function
    of `jax.nn.gelu`, which is relatively exact where x Phi(x) is tiny. The forward pass keeps the derivative Phi(x) +
    x phi(x). Source: Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return (wide * _normal_cdf(wide)).astype(x.dtype)


@gelu.defjvp
def _gelu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,) = primals
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    cdf, density = _normal_cdf(wide), jnp.exp(-0.5 * wide**2) / math.sqrt(2 * math.pi)
    return (wide * cdf).astype(x.dtype), (cdf + wide * density).astype(x.dtype) * tangents[0]


def _normal_cdf(x: Array) -> Array:
    return 0.5 + 0.5 * jax.lax.erf(math.sqrt(0.5) * x)


ACTIVATIONS = {"elu": elu, "relu": nn.relu}

"""Layers of the autoencoder: convolutions without bias, batch normalisation, LeakyReLU and the residual block."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from exflow.nn.convolution import convolution, fastest_gradient
from exflow.nn.few_channels import FEW, convolution_to_few
from exflow.nn.normalization import Normalization
from exflow.nn.transposed_convolution import transposed_convolution

SLOPE = 0.02
DEVIATION = 0.02  # of initial kernels

Mask = Bool[Array, " batch"] | None  # False where an image does not exist; None: all do
Maps = Float[Array, "batch height width channels"]
OtherMaps = Float[Array, "batch out_height out_width features"]


def activated(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """LeakyReLU with slope 0.02."""
    return jax.nn.leaky_relu(x, SLOPE)


class Convolution(nn.Module):
    """Convolution without bias whose kernel is drawn from N(0, 0.02^2).

    Attributes:
      features: Channels of the output.
      resampling: "" (3x3 taps) keeps height and width, "down" (4x4 taps, stride 2) halves them, "up" doubles them by
        the adjoint of "down".
      compute_dtype: Of the operands; the output is float32 at least.
    """

    features: int
    resampling: str = ""
    compute_dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Maps) -> OtherMaps:
        """Convolve."""
        size, up = (4 if self.resampling else 3), self.resampling == "up"
        channels = (self.features, x.shape[-1]) if up else (x.shape[-1], self.features)
        kernel: Array = self.param("kernel", nn.initializers.normal(DEVIATION), (size, size, *channels))
        given = x.dtype
        if self.compute_dtype == "bfloat16":
            x, kernel = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
        if up:
            out: Array = transposed_convolution(x, kernel, 2, (1, 1), fastest_gradient())
        elif not self.resampling and self.features <= FEW and jax.default_backend() == "cpu":
            out = convolution_to_few(x, kernel, (1, 1))
        else:
            out = convolution(x, kernel, 2 if self.resampling else 1, (1, 1), fastest_gradient())
        return out.astype(jnp.promote_types(given, jnp.float32))


class Normalized(nn.Module):
    """Batch normalisation of a convolution; attributes as of `Convolution`."""

    features: int
    resampling: str = ""
    compute_dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Maps, mask: Mask, train: bool) -> OtherMaps:
        """Apply both."""
        convolved = Convolution(self.features, self.resampling, self.compute_dtype)(x)
        return Normalization("batch")(convolved, mask, train)


class PostSumBlock(nn.Module):
    """phi(BN(conv(phi(BN(conv(phi(u)))))) + u) of normalised maps u that have not been activated."""

    compute_dtype: str = "float32"

    @nn.compact
    def __call__(self, u: Maps, mask: Mask, train: bool) -> Maps:
        """Apply the block; height, width and channels stay."""
        inner = activated(Normalized(u.shape[-1], compute_dtype=self.compute_dtype)(activated(u), mask, train))
        return activated(Normalized(u.shape[-1], compute_dtype=self.compute_dtype)(inner, mask, train) + u)

"""Networks from the latents of an element and of its set to the parameters of its likelihood."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from exflow.models.set_vae.networks.blocks import BlockStyle, Fusion, ResidualBlock
from exflow.nn.layers import Doubling, Linear
from exflow.nn.normalization import Normalization

BASE = 4  # height and width of the maps from which images are built


class DeconvStack(nn.Module):
    """From 4x4 maps of 4 filters to an image: pairs of 3x3 convolutions and three doublings, 1x1 convolution.

    For 28x28 images the last 3x3 convolution has no padding (16 -> 14); images of 64x64 repeat every pixel of 32x32, so
    that the parameters of the likelihood are constant on 2x2 pixels.
    """

    style: BlockStyle
    image_size: int
    num_outputs: int
    filters: int = 64

    @nn.compact
    def __call__(self, x: Float[Array, "batch set 4 4 channels"], mask: Array, train: bool) -> Array:
        """Parameters of the likelihood, `[batch, set, image_size, image_size, num_outputs]`."""
        style = self.style

        def finished(x: Array) -> Array:
            return style.act(Normalization(style.normalization)(x, mask, train))

        for stage in (2, 1, 0):
            width = self.filters * 2**stage
            for index in range(2):
                padding = 0 if self.image_size == 28 and stage == 0 and index == 1 else 1
                options = {"initialization": style.initialization, "compute_dtype": style.compute_dtype}
                x = finished(Linear(width, (3, 3), padding=padding, **options)(x))
            x = finished(Doubling(width, **options)(x))
        if self.image_size > 32:
            x = jnp.repeat(jnp.repeat(x, 2, axis=-3), 2, axis=-2)
        return Linear(self.num_outputs, initialization=style.initialization, name="output")(x)


class ImageDecoder(nn.Module):
    """Fusion of all latents of the element and of the set, a projection to 4x4 maps, `DeconvStack`."""

    style: BlockStyle
    image_size: int
    num_outputs: int
    set_latent_dim: int  # channels of all latents of the set together; of the unused weights where there are none
    filters: int = 64

    @nn.compact
    def __call__(
        self,
        example_inputs: Float[Array, "batch set ..."],
        set_inputs: Float[Array, "batch ..."] | None,
        mask: Bool[Array, "batch set"],
        train: bool,
    ) -> Float[Array, "batch set height width outputs"]:
        """Parameters of the likelihood of every element."""
        style, channels = self.style, 4 * self.filters
        dims = (("z", example_inputs.shape[-1]), ("c", self.set_latent_dim))
        hidden = Fusion(style, dims, name="fusion")(z=example_inputs, c=set_inputs)
        width = channels if style.maps else BASE * BASE * channels
        hidden = Linear(width, initialization=style.initialization, name="projection")(hidden)
        hidden = hidden.reshape(*mask.shape, BASE, BASE, channels)
        stack = DeconvStack(style, self.image_size, self.num_outputs, self.filters, name="stack")
        return stack(hidden, mask, train)


class VectorDecoder(nn.Module):
    """Fusion of all latents, a residual block, mean and log-variance of a vector.

    Attributes:
      style: Of the layers.
      dim: Length of the vector.
      set_latent_dim: Channels of all latents of the set together.
      shared_variance: One learned log-variance per entry instead of a predicted one.
    """

    style: BlockStyle
    dim: int
    set_latent_dim: int
    shared_variance: bool = False

    @nn.compact
    def __call__(
        self,
        example_inputs: Float[Array, "batch set latent"],
        set_inputs: Float[Array, "batch set_latent"] | None,
        mask: Bool[Array, "batch set"],
        train: bool,
    ) -> Float[Array, "batch set 1 1 outputs"]:
        """Parameters of the likelihood of every element: means, then log-variances."""
        style = self.style
        dims = (("z", example_inputs.shape[-1]), ("c", self.set_latent_dim))
        hidden = Fusion(style, dims, name="fusion")(z=example_inputs, c=set_inputs)
        hidden = ResidualBlock(style, style.block_depth, name="block")(hidden, mask, train)
        width = self.dim if self.shared_variance else 2 * self.dim
        outputs = Linear(width, initialization=style.initialization, name="output")(hidden)
        if self.shared_variance:
            log_variance = self.param("log_variance", nn.initializers.normal(1.0), (self.dim,))
            outputs = jnp.concatenate([outputs, jnp.broadcast_to(log_variance[None, None], outputs.shape)], axis=-1)
        return outputs[:, :, None, None]

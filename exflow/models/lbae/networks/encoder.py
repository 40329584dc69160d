"""From images to features and on to what the latents are made of."""

from flax import linen as nn
from jaxtyping import Array, Float

from exflow.models.lbae.networks.layers import Convolution, Maps, Mask, Normalized, PostSumBlock, activated
from exflow.models.lbae.networks.plan import AutoencoderPlan
from exflow.nn.layers import Linear


class Encoder(nn.Module):
    """Convolutions that halve height and width, each followed by a residual block, and a dense head.

    The last convolution has neither normalisation nor activation nor block. Of Gaussian latents there are two heads,
    for means and log-variances.
    """

    plan: AutoencoderPlan

    @nn.compact
    def __call__(self, values: Maps, mask: Mask, train: bool) -> Float[Array, "batch outputs"]:
        """What the latents are made of: [batch, latent_dim], twice as many for "gaussian"."""
        *channels, last = self.plan.encoder_channels
        dtype = self.plan.compute_dtype
        stem = self.plan.encoder_channels[0]
        x = activated(Normalized(stem, compute_dtype=dtype)(values, mask, train))
        for features in channels:
            x = PostSumBlock(dtype)(Normalized(features, "down", dtype)(x, mask, train), mask, train)
        x = Convolution(last, "down", dtype)(x)
        heads = 2 if self.plan.latent == "gaussian" else 1
        return Linear(heads * self.plan.latent_dim)(x.reshape(x.shape[0], -1))

"""From latents back to images."""

from flax import linen as nn
from jaxtyping import Array, Float

from exflow.models.lbae.networks.layers import Convolution, Maps, Mask, Normalized, PostSumBlock, activated
from exflow.models.lbae.networks.plan import AutoencoderPlan
from exflow.nn.layers import Linear


class Decoder(nn.Module):
    """A dense layer to small maps and transposed convolutions that double height and width.

    All but the last are followed by a residual block. The published decoder of MNIST passes 200 bits through one map of
    4x4, `decoder_input_channels=1`: 16 real numbers.
    """

    plan: AutoencoderPlan

    @nn.compact
    def __call__(self, code: Float[Array, "batch latent"], mask: Mask, train: bool) -> Maps:
        """Outputs before the sigmoid, of the shape of images."""
        plan = self.plan
        *channels, last = plan.decoder_channels
        small = (*plan.smallest, plan.decoder_input_channels)
        x = Linear(small[0] * small[1] * small[2])(code).reshape(-1, *small)
        for features in channels:
            u = Normalized(features, "up", plan.compute_dtype)(x, mask, train)
            x = PostSumBlock(plan.compute_dtype)(u, mask, train)
        x = activated(Normalized(last, "up", plan.compute_dtype)(x, mask, train))
        return Convolution(plan.image_shape[2], compute_dtype=plan.compute_dtype)(x)

"""Encoder, latents and decoder as one module."""

from flax import linen as nn
from jaxtyping import Array, Float

from exflow.models.lbae.networks.decoder import Decoder
from exflow.models.lbae.networks.encoder import Encoder
from exflow.models.lbae.networks.latent import Coded, latent
from exflow.models.lbae.networks.layers import Maps, Mask
from exflow.models.lbae.networks.plan import AutoencoderPlan
from exflow.typing import PRNGKey


class Autoencoder(nn.Module):
    """A convolutional autoencoder (`ConvResBlock32` of the published code)."""

    plan: AutoencoderPlan

    def setup(self) -> None:
        """Create both networks."""
        self.encoder, self.decoder = Encoder(self.plan), Decoder(self.plan)

    def __call__(self, values: Maps, mask: Mask, key: PRNGKey | None, train: bool) -> tuple[Maps, Coded]:
        """Outputs before the sigmoid, and the latents they are made of.

        Args:
          values: Pixels in [0, 1].
          mask: False where an image does not exist.
          key: Of the latents' noise; None: they have none.
          train: Whether normalisation takes the moments of the batch.
        """
        found = self.encode(values, mask, key, train)
        return self.decode(found.code, mask, train), found

    def encode(self, values: Maps, mask: Mask = None, key: PRNGKey | None = None, train: bool = False) -> Coded:
        """The latents of images."""
        return latent(self.plan, self.encoder(values, mask, train), key)

    def decode(self, code: Float[Array, "batch latent"], mask: Mask = None, train: bool = False) -> Maps:
        """Outputs before the sigmoid of latents."""
        return self.decoder(code, mask, train)

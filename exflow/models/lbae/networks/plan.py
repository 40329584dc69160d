"""The sizes of an autoencoder, read from the configuration."""

from typing import NamedTuple

from ml_collections import ConfigDict

from exflow.errors import UserError

LATENTS = ("bits", "rounded", "gaussian", "continuous")


class AutoencoderPlan(NamedTuple):
    """What the networks are made of.

    Attributes:
      image_shape: Height, width and channels.
      latent: "bits" (signs), "rounded" (tanh, rounded to `decimals`), "gaussian" (those of a VAE) or "continuous".
      latent_dim: Their number.
      encoder_channels: Of the convolutions that halve height and width; the first also of the stem.
      decoder_channels: Of the transposed convolutions that double them.
      decoder_input_channels: Of the smallest maps, which a dense layer makes of the latents.
      gradient: Of bits, see `exflow.nn.straight_through`.
      flip_probability: Of every bit, in training.
      decimals: Of "rounded".
      compute_dtype: Of the operands of convolutions.
    """

    image_shape: tuple[int, int, int]
    latent: str
    latent_dim: int
    encoder_channels: tuple[int, ...]
    decoder_channels: tuple[int, ...]
    decoder_input_channels: int
    gradient: str
    flip_probability: float
    decimals: int
    compute_dtype: str

    @property
    def smallest(self) -> tuple[int, int]:
        """Height and width of the smallest maps."""
        return self.image_shape[0] >> len(self.decoder_channels), self.image_shape[1] >> len(self.decoder_channels)


def plan(options: ConfigDict, image_shape: tuple[int, int, int], compute_dtype: str) -> AutoencoderPlan:
    """Read section `model.lbae`.

    Raises:
      UserError: Encoder and decoder differ in length, or the images cannot be halved so often.
    """
    encoder, decoder = tuple(options.encoder_channels), tuple(options.decoder_channels)
    if len(encoder) != len(decoder) or not encoder:
        raise UserError(
            "config.model.lbae: encoder_channels and decoder_channels need one entry per halving each, got "
            f"{len(encoder)} and {len(decoder)}."
        )
    factor = 2 ** len(encoder)
    if image_shape[0] % factor or image_shape[1] % factor:
        larger = -(-max(image_shape[:2]) // factor) * factor
        raise UserError(
            f"config.data.image_size: {image_shape[0]}x{image_shape[1]} images cannot be halved {len(encoder)} times. "
            f"Use data.image_size={larger} (and data.resize=pad to put zeros around), or fewer channels in model.lbae."
        )
    return AutoencoderPlan(
        image_shape,
        options.latent,
        options.latent_dim,
        encoder,
        decoder,
        options.decoder_input_channels,
        options.gradient,
        options.flip_probability,
        options.decimals,
        compute_dtype,
    )

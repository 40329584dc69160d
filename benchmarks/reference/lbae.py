"""Latent Bernoulli autoencoders in PyTorch: the convolutional networks with post-sum residual blocks.

Source: Fajtl et al. 2020, PMLR 119:2964-2974; the names of modules and parameters are those of exflow's.
"""

import torch
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.reference.layers import BatchNorm, Linear, zeros
from exflow.models.lbae.networks.layers import SLOPE
from exflow.models.lbae.networks.plan import AutoencoderPlan, plan


def activated(x: Tensor, inplace: bool = True) -> Tensor:
    """LeakyReLU, in place of what the layer before has computed and does not need for its own gradient."""
    return functional.leaky_relu(x, SLOPE, inplace)


class Convolution(nn.Module):
    """3x3 taps ("") keep height and width, 4x4 halve ("down") or double ("up") them; without bias."""

    def __init__(self, num_in: int, num_out: int, resampling: str = ""):
        super().__init__()
        self.resampling, size = resampling, 4 if resampling else 3
        channels = (num_in, num_out) if resampling == "up" else (num_out, num_in)
        self.kernel = zeros(*channels, size, size)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `[batch, height, width, num_in]`."""
        convolve = functional.conv_transpose2d if self.resampling == "up" else functional.conv2d
        out = convolve(x.permute(0, 3, 1, 2), self.kernel, None, 2 if self.resampling else 1, 1)
        return out.permute(0, 2, 3, 1)


class Normalized(nn.Module):
    """Batch normalisation of a convolution."""

    def __init__(self, num_in: int, num_out: int, resampling: str = ""):
        super().__init__()
        self.Convolution_0, self.Normalization_0 = Convolution(num_in, num_out, resampling), BatchNorm(num_out)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both."""
        return self.Normalization_0(self.Convolution_0(x))


class PostSumBlock(nn.Module):
    """phi(BN(conv(phi(BN(conv(phi(u)))))) + u)."""

    def __init__(self, channels: int):
        super().__init__()
        self.Normalized_0, self.Normalized_1 = Normalized(channels, channels), Normalized(channels, channels)

    def forward(self, u: Tensor) -> Tensor:
        """Apply the block."""
        inner = activated(self.Normalized_0(activated(u, inplace=False)))
        return activated(self.Normalized_1(inner).add_(u))


class Encoder(nn.Module):
    """From pixels to what the bits are made of."""

    def __init__(self, made: AutoencoderPlan):
        super().__init__()
        *channels, last = made.encoder_channels
        stem = made.encoder_channels[0]
        self.Normalized_0 = Normalized(made.image_shape[2], stem)
        self.blocks = len(channels)
        for number, (before, features) in enumerate(zip([stem, *channels], channels, strict=False)):
            self.add_module(f"Normalized_{number + 1}", Normalized(before, features, "down"))
            self.add_module(f"PostSumBlock_{number}", PostSumBlock(features))
        self.Convolution_0 = Convolution(channels[-1] if channels else stem, last, "down")
        self.Linear_0 = Linear(made.smallest[0] * made.smallest[1] * last, made.latent_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs `[batch, latent]`."""
        x = activated(self.Normalized_0(x))
        for number in range(self.blocks):
            u = self.get_submodule(f"Normalized_{number + 1}")(x)
            x = self.get_submodule(f"PostSumBlock_{number}")(u)
        return self.Linear_0(self.Convolution_0(x).flatten(1))


class Decoder(nn.Module):
    """From bits to outputs before the sigmoid."""

    def __init__(self, made: AutoencoderPlan):
        super().__init__()
        *channels, last = made.decoder_channels
        first = made.decoder_input_channels
        self.small, self.blocks = (*made.smallest, first), len(channels)
        self.Linear_0 = Linear(made.latent_dim, made.smallest[0] * made.smallest[1] * first)
        for number, (before, features) in enumerate(zip([first, *channels], made.decoder_channels, strict=True)):
            self.add_module(f"Normalized_{number}", Normalized(before, features, "up"))
        for number, features in enumerate(channels):
            self.add_module(f"PostSumBlock_{number}", PostSumBlock(features))
        self.Convolution_0 = Convolution(last, made.image_shape[2])

    def forward(self, code: Tensor) -> Tensor:
        """Outputs `[batch, height, width, channels]`."""
        x = self.Linear_0(code).unflatten(1, self.small)
        for number in range(self.blocks):
            u = self.get_submodule(f"Normalized_{number}")(x)
            x = self.get_submodule(f"PostSumBlock_{number}")(u)
        return self.Convolution_0(activated(self.get_submodule(f"Normalized_{self.blocks}")(x)))


class Lbae(nn.Module):
    """Both networks and bits between them, with the objective in the unit of the configuration."""

    def __init__(self, config: ConfigDict, image_shape: tuple[int, int, int]):
        super().__init__()
        made, objective = plan(config.model.lbae, image_shape, config.model.compute_dtype), config.objective
        if (made.latent, made.gradient) != ("bits", "tanh") or made.flip_probability or objective.code_weight:
            raise ValueError("config: the reference has bits of the published gradient. Use the published model.")
        self.encoder, self.decoder, self.kind = Encoder(made), Decoder(made), objective.distortion

    def forward(self, values: Tensor) -> Tensor:
        """The loss of pixels `[batch, height, width, channels]` in [0, 1]."""
        soft = torch.tanh(self.encoder(values))
        bits = torch.where(soft >= 0, 1.0, -1.0).to(soft.dtype)
        outputs = self.decoder(bits + (soft - soft.detach()))
        if self.kind == "cross_entropy":
            total = functional.binary_cross_entropy_with_logits(outputs, values, reduction="sum")
        else:
            total = functional.mse_loss(torch.sigmoid(outputs), values, reduction="sum")
        return total / len(values)

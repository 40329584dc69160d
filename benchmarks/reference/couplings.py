"""The couplings of BRUNO's flow in PyTorch: conditioner networks and masks, and the squeeze between them.

Sources: Dinh et al. 2017, arXiv:1605.08803; Korshunova et al. 2018, arXiv:1802.07535.
"""

import torch
from torch import Tensor, nn

from benchmarks.reference.layers import Linear, WeightNorm, elu


class Conditioner(nn.Module):
    """Two heads on hidden features, which a subclass computes."""

    def __init__(self, hidden: int, outputs: int):
        super().__init__()
        self.heads = nn.ModuleDict({name: Linear(hidden, outputs) for name in ("log_scale", "shift")})

    def hidden(self, x: Tensor) -> Tensor:
        """Features `[..., hidden]`."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Raw log-scale and shift of every entry."""
        hidden = self.hidden(x)
        return self.heads["log_scale"](hidden), self.heads["shift"](hidden)


class DenseConditioner(Conditioner):
    """Two hidden layers of ELU units."""

    def __init__(self, dim: int, units: int):
        super().__init__(units, dim)
        self.first, self.second = WeightNorm(dim, units), WeightNorm(units, units)

    def hidden(self, x: Tensor) -> Tensor:
        """See `Conditioner`."""
        return elu(self.second(elu(self.first(x))))


class ConvBlock(nn.Module):
    """ELU(x + conv(ELU(conv(x)))) with 3x3 convolutions."""

    def __init__(self, filters: int):
        super().__init__()
        self.first, self.second = WeightNorm(filters, filters, 3), WeightNorm(filters, filters, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block; the shape stays."""
        return elu(x + self.second(elu(self.first(x))))


class ConvConditioner(Conditioner):
    """1x1 convolution and residual blocks."""

    def __init__(self, channels: int, filters: int, num_blocks: int):
        super().__init__(filters, channels)
        self.first = WeightNorm(channels, filters, 1)
        self.blocks = nn.ModuleList(ConvBlock(filters) for _ in range(num_blocks))

    def hidden(self, x: Tensor) -> Tensor:
        """See `Conditioner`."""
        x = elu(self.first(x))
        for block in self.blocks:
            x = block(x)
        return x


class Coupling(nn.Module):
    """Entries where the mask is 1 pass through and transform the others."""

    def __init__(self, mask: Tensor, conditioner: Conditioner):
        super().__init__()
        self.conditioner = conditioner
        self.register_buffer("keep", mask.float())
        self.register_buffer("change", 1 - mask.float())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Transformed x and log-determinant per example."""
        raw_log_scale, shift = self.conditioner(x * self.keep)
        log_scale = torch.tanh(raw_log_scale) * self.change
        return x * log_scale.exp() + shift * self.change, log_scale.flatten(1).sum(1)


def squeeze(x: Tensor) -> Tensor:
    """Move 2x2 blocks into channels: output channel (2 dy + dx) * channels + c."""
    batch, height, width, channels = x.shape
    blocks = x.view(batch, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 2, 4, 5)
    return blocks.reshape(batch, height // 2, width // 2, 4 * channels)


def checkerboard(height: int, width: int, parity: int) -> Tensor:
    """1 where row + column is odd (`parity` 0) or even, `[height, width, 1]`."""
    return ((torch.arange(height)[:, None] + torch.arange(width) + 1 + parity) % 2 == 0)[:, :, None]


def first_half(channels: int, parity: int) -> Tensor:
    """1 in the first half of the channels (`parity` 0) or in the second."""
    return (torch.arange(channels) < channels // 2) ^ bool(parity)


def alternate(dim: int, parity: int) -> Tensor:
    """1 at odd places (`parity` 0) or at even ones."""
    return torch.arange(dim) % 2 != parity

"""What set VAEs are made of, in PyTorch: Gaussians, aggregation over the set, and the objective.

Sources: Edwards & Storkey 2017, arXiv:1606.02185; Giannone & Winther 2022, arXiv:2110.12279.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.reference.layers import Linear

SET, EXAMPLE = range(2)
HEADS = 4
Noise = Callable[[int, int, torch.Size], Tensor]  # (level, SET | EXAMPLE, shape) -> standard normal numbers


class Gaussian(NamedTuple):
    """Independent entries."""

    mean: Tensor
    log_variance: Tensor

    def draw(self, noise: Tensor) -> Tensor:
        """A reparametrised draw."""
        return self.mean + torch.exp(0.5 * self.log_variance) * noise

    def divergence(self, p: "Gaussian | None") -> Tensor:
        """KL(self || p), summed; None: the standard normal law."""
        mean, log_variance = (0.0, torch.zeros(())) if p is None else p
        log_ratio = self.log_variance - log_variance
        difference = (self.mean - mean) ** 2 * torch.exp(-log_variance)
        return 0.5 * (torch.expm1(log_ratio) - log_ratio + difference).sum()


def standard_noise(level: int, stream: int, shape: torch.Size) -> Tensor:
    """New numbers for every latent."""
    del level, stream
    return torch.randn(shape)


class Attention(nn.Module):
    """One query per set, a projection of its mean: `[batch, set, ..., channels]` -> `[batch, ..., channels]`.

    Weights are of heads and elements; products are summed over the pixels of maps.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.query, self.key, self.value = (Linear(channels, channels) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Aggregate."""
        batch, channels = x.shape[0], x.shape[-1]
        pixels = math.prod(x.shape[2:-1])

        def by_head(rows: Tensor) -> Tensor:
            rows = rows.reshape(batch, -1, pixels, HEADS, channels // HEADS)
            return rows.permute(0, 3, 1, 2, 4).flatten(3)

        query, key, value = (
            by_head(layer(rows)) for layer, rows in ((self.query, x.mean(1)), (self.key, x), (self.value, x))
        )
        pooled = functional.scaled_dot_product_attention(query, key, value)
        pooled = pooled.view(batch, HEADS, pixels, channels // HEADS).transpose(1, 2)
        return pooled.reshape(batch, *x.shape[2:])


class Mean(nn.Module):
    """Mean over the set."""

    def forward(self, x: Tensor) -> Tensor:
        """Aggregate."""
        return x.mean(1)


def aggregator(kind: str, channels: int) -> nn.Module:
    """`Mean` or `Attention`."""
    if kind not in ("mean", "attention"):
        raise ValueError(f"aggregation: the reference has mean and attention, got {kind!r}. Use one of them.")
    return Mean() if kind == "mean" else Attention(channels)


def negative_bound(logits: Tensor, values: Tensor, divergence: Tensor, weight: float) -> Tensor:
    """The loss per image: weighted reconstruction of binary pixels, and divergences divided by the weight."""
    reconstruction = functional.binary_cross_entropy_with_logits(logits, values, reduction="sum")
    return (weight * reconstruction + divergence / weight) / math.prod(values.shape[:2])

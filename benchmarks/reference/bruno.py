"""BRUNO in PyTorch: Real NVP on images and an exchangeable Gaussian process on latents, densities of sets in training.

Source: Korshunova et al. 2018, arXiv:1802.07535; the names of parameters are those of exflow's.
"""

import math
from collections.abc import Callable

import torch
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.reference.couplings import (
    Conditioner,
    ConvConditioner,
    Coupling,
    DenseConditioner,
    alternate,
    checkerboard,
    first_half,
    squeeze,
)
from benchmarks.reference.layers import zeros

CHECKERBOARDS, CHANNELS, CHECKERBOARDS_AT_END = (0, 1, 0), (0, 1, 0), (0, 1, 0, 1)
SUPPORTED = {
    "process": "gaussian",
    "conditioning": "none",
    "coupling": "affine",
    "dense_mask": "alternate",
    "weight_norm": True,
    "bounded_features": False,
    "learn_mean": False,
}


class Flow(nn.Module):
    """From dequantised pixels `[batch, height, width, channels]` to latents `[batch, dim]`, with log-determinants."""

    def __init__(self, options: ConfigDict, image_shape: tuple[int, int, int]):
        super().__init__()
        self.alpha, self.couplings = options.alpha, nn.ModuleList()
        height, width, channels = image_shape
        self.squeezes = max(options.scales - 1, 0)

        def add(masks: list[Tensor], conditioner: Callable[[], Conditioner]) -> None:
            self.couplings.extend(Coupling(mask, conditioner()) for mask in masks)

        def conditioner() -> Conditioner:
            return ConvConditioner(channels, options.filters, options.residual_blocks)

        for _ in range(self.squeezes):
            add([checkerboard(height, width, parity) for parity in CHECKERBOARDS], conditioner)
            height, width, channels = height // 2, width // 2, channels * 4
            add([first_half(channels, parity) for parity in CHANNELS], conditioner)
            channels //= 2
        if options.scales:
            add([checkerboard(height, width, parity) for parity in CHECKERBOARDS_AT_END], conditioner)
        dim = math.prod(image_shape)
        masks = [alternate(dim, index % 2) for index in range(options.dense_couplings)]
        add(masks, lambda: DenseConditioner(dim, options.dense_units))
        self.num_dense = len(masks)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latents and log |det dz/dx| in nats."""
        x = x / 256
        log_y = torch.log(self.alpha / 2 + (1 - self.alpha) * x)
        log_complement = torch.log(self.alpha / 2 + (1 - self.alpha) * (1 - x))
        constant = math.log1p(-self.alpha) - math.log(256)
        log_det = (constant - log_y - log_complement).flatten(1).sum(1)
        remaining = iter(self.couplings)

        def through(x: Tensor, number: int) -> Tensor:
            nonlocal log_det
            for _ in range(number):
                x, more = next(remaining)(x)
                log_det = log_det + more
            return x

        def scales(x: Tensor, squeezes: int) -> Tensor:
            if not squeezes:
                return through(x, len(self.couplings) - self.num_dense - 6 * self.squeezes)
            x = through(squeeze(through(x, len(CHECKERBOARDS))), len(CHANNELS))
            out, rest = x.chunk(2, -1)
            rest = scales(rest, squeezes - 1)
            while out.shape[1] > rest.shape[1]:
                out = squeeze(out)
            return torch.cat([out, rest], -1)

        z = scales(log_y - log_complement, self.squeezes).flatten(1)
        return through(z, self.num_dense), log_det


class Process(nn.Module):
    """Exchangeable Gaussian process of every latent dimension; its mean is not trained."""

    def __init__(self, dim: int):
        super().__init__()
        self.raw_variance, self.raw_correlation = zeros(dim), zeros(dim)
        self.register_buffer("mean", torch.zeros(dim))

    def forward(self, z: Tensor) -> Tensor:
        """log p(z_n | z_<n), `[batch, set]`, of sets `[batch, set, dim]`, by sums of the elements before each."""
        logit = self.raw_correlation.clamp(max=40)
        within, ratio = functional.softplus(self.raw_variance) ** 2 * torch.sigmoid(-logit), logit.exp()
        count = torch.arange(z.shape[1], dtype=z.dtype)[:, None]
        z = z - self.mean
        before = torch.cumsum(z, 1) - z
        shrinkage = ratio / (1 + count * ratio)  # posterior mean of the location: shrinkage times the sum
        variance = within * (1 + shrinkage)
        terms = (z - shrinkage * before) ** 2 / variance
        return -0.5 * (terms.sum(-1) + (math.log(2 * math.pi) + variance.log()).sum(-1))


class Bruno(nn.Module):
    """Flow, process and the objective: the negative log-likelihood in nats per image."""

    def __init__(self, config: ConfigDict, image_shape: tuple[int, int, int]):
        super().__init__()
        options, objective = config.model.bruno, config.objective
        different = [key for key, value in SUPPORTED.items() if options[key] != value]
        if different or objective.discriminative_weight or objective.num_given:
            raise ValueError(f"config: the reference has no such {different or 'objective'}. Use the published model.")
        self.flow, self.process = Flow(options, image_shape), Process(math.prod(image_shape))

    def forward(self, pixels: Tensor) -> Tensor:
        """The loss of dequantised pixels `[batch, set, height, width, channels]`."""
        z, log_det = self.flow(pixels.flatten(0, 1))
        return -(self.process(z.unflatten(0, pixels.shape[:2])) + log_det.view(pixels.shape[:2])).mean()

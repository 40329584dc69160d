"""SCHA-VAE in PyTorch: latents of a set and of its elements on two residual streams of maps, coarse to fine.

Sources: Giannone & Winther 2022, arXiv:2110.12279, section 4; Child 2021, arXiv:2011.10650. The names of parameters are
those of exflow's.
"""

import torch
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.reference.layers import Linear, zeros
from benchmarks.reference.set_vae_layers import EXAMPLE, SET, Gaussian, Noise, aggregator, negative_bound
from exflow.models.set_vae.networks.stream_layout import PYRAMID_SIZE, block_runs, level_runs, per_block

SUPPORTED = {
    "likelihood": "bernoulli",
    "residual_posteriors": False,
    "log_variance_bound": 0.0,
    "decoder_set_stream": "corner",
    "examples_to_set_latents": False,
}


class Bottleneck(nn.Module):
    """GELU and convolution four times, of a quarter of the width; 3x3 in the middle, 1x1 on small maps."""

    def __init__(self, num_in: int, width: int, num_out: int, resolution: int, residual: bool = False):
        super().__init__()
        middle, size = width // 4, 3 if resolution > 2 else 0
        self.residual = residual
        self.layers = nn.ModuleList(
            [Linear(num_in, middle), *(Linear(middle, middle, size) for _ in range(2)), Linear(middle, num_out)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        hidden = x
        for layer in self.layers:
            hidden = layer(functional.gelu(hidden))
        return x + hidden if self.residual else hidden


class Runs(nn.Module):
    """Runs of equal residual blocks, each with a resize behind it."""

    def __init__(self, width: int, blocks: tuple[int, ...], size: int):
        super().__init__()
        self.runs = block_runs(blocks, size)
        for run in self.runs:
            equal = (Bottleneck(width, width, width, run.resolution, residual=True) for _ in range(run.number))
            self.add_module(f"blocks_{run.size}_to_{run.resolution}", nn.ModuleList(equal))

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """The maps behind the last block of every resolution."""
        maps = {}
        for run in self.runs:
            for block in self.get_submodule(f"blocks_{run.size}_to_{run.resolution}"):
                x = block(x)
            x = maps[run.resolution] = resize(x, run.resolution)
        return maps


class Encoder(Runs):
    """Maps of every element from fine to coarse."""

    def __init__(self, width: int, blocks: tuple[int, ...]):
        super().__init__(width, blocks, PYRAMID_SIZE)
        self.input = Linear(1, width, 3)

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """Maps `[batch, set, r, r, width]` by resolution r."""
        return super().forward(self.input(resize(x, PYRAMID_SIZE)))


class Decoder(Runs):
    """From both streams to logits of pixels; of the set's stream the top-left pixel counts."""

    def __init__(self, width: int, blocks: tuple[int, ...], size: int, image_size: int):
        super().__init__(width, blocks, size)
        self.image_size = image_size
        self.element, self.context, self.output = Linear(width, width, 3), Linear(width, width, 3), Linear(width, 1)

    def forward(self, of_examples: Tensor, of_set: Tensor) -> Tensor:
        """Logits `[batch, set, height, width, 1]`."""
        x = self.element(of_examples) + self.context(of_set[:, :1, :1])[:, None]
        *_, x = super().forward(x).values()
        return self.output(resize(x, self.image_size))


class Half(nn.Module):
    """One latent on one stream."""

    def __init__(self, width: int, seen: int, dim: int, resolution: int):
        super().__init__()
        self.dim = dim
        self.prior = Bottleneck(width, width, 2 * dim + width, resolution)
        self.posterior = Bottleneck(seen, width, 2 * dim, resolution)
        self.latent = Linear(dim, width)
        self.output = Bottleneck(width, width, width, resolution, residual=True)

    def forward(self, stream: Tensor, seen: Tensor, noise: Noise, level: int, kind: int) -> tuple[Tensor, Tensor]:
        """The stream behind the latent, and the divergence."""
        mean, log_variance, more = self.prior(stream).split([self.dim, self.dim, stream.shape[-1]], -1)
        q = Gaussian(*self.posterior(seen).chunk(2, -1))
        latent = q.draw(noise(level, kind, q.mean.shape))
        return self.output(stream + more + self.latent(latent)), q.divergence(Gaussian(mean, log_variance))


class Level(nn.Module):
    """The latent of the set and those of its elements."""

    def __init__(self, width: int, options: ConfigDict, resolution: int):
        super().__init__()
        self.element_to_context, self.context_to_element = Linear(width, width), Linear(width, width)
        self.aggregator = aggregator(options.aggregation, width)
        self.context = Half(width, width, options.set_latent_dim, resolution)
        self.element = Half(width, 2 * width, options.latent_dim, resolution)

    def forward(self, xc: Tensor, xz: Tensor, features: Tensor, noise: Noise, level: int) -> tuple[Tensor, ...]:
        """Both streams, and the divergence."""
        seen = features + xc[:, None]
        seen = seen + self.element_to_context(xz) if level else seen
        xc, of_set = self.context(xc, self.aggregator(seen), noise, level, SET)
        xz = xz + self.context_to_element(xc)[:, None]
        xz, of_examples = self.element(xz, torch.cat([xz, features], -1), noise, level, EXAMPLE)
        return xc, xz, of_set + of_examples


class Hierarchy(nn.Module):
    """Levels of growing resolution."""

    def __init__(self, options: ConfigDict, levels: tuple[int, ...]):
        super().__init__()
        width = options.hidden
        self.context_stream, self.element_stream = zeros(1, 1, width), zeros(1, 1, width)
        self.runs = level_runs(levels)
        for resolution, run in self.runs:
            equal = (Level(width, options, resolution) for _ in range(run.stop - run.start))
            self.add_module(f"levels_{resolution}", nn.ModuleList(equal))

    def forward(self, maps: dict[int, Tensor], noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
        """The stream of elements, that of the set, and the sum of the divergences."""
        batch, size = next(iter(maps.values())).shape[:2]
        xc = self.context_stream.expand(batch, -1, -1, -1)
        xz = self.element_stream.expand(batch, size, -1, -1, -1)
        divergences = []
        for resolution, run in self.runs:
            xc, xz = resize(xc, resolution), resize(xz, resolution)
            for number, level in enumerate(self.get_submodule(f"levels_{resolution}"), run.start):
                xc, xz, divergence = level(xc, xz, maps[resolution], noise, number)
                divergences.append(divergence)
        return xz, xc, torch.stack(divergences).sum()


class StreamVae(nn.Module):
    """Encoder, hierarchy and decoder."""

    def __init__(self, config: ConfigDict, image_shape: tuple[int, int, int]):
        super().__init__()
        options = config.model.set_vae
        different = [key for key, value in SUPPORTED.items() if options[key] != value]
        if different or image_shape[2] != 1 or config.objective.free_bits:
            raise ValueError(f"config: the reference has no such {different or 'images'}. Use the published model.")
        levels, decoder = (per_block(options[key])[::-1] for key in ("levels", "decoder_blocks"))
        self.encoder = Encoder(options.hidden, per_block(options.encoder_blocks))
        self.hierarchy = Hierarchy(options, levels)
        self.decoder = Decoder(options.hidden, decoder, levels[-1], image_shape[0])

    def forward(self, values: Tensor, noise: Noise, weight: float = 1.0) -> Tensor:
        """The loss of binary pixels `[batch, set, height, width, 1]`."""
        xz, xc, divergence = self.hierarchy(self.encoder(values), noise)
        return negative_bound(self.decoder(xz, xc), values, divergence, weight)


def resize(x: Tensor, size: int) -> Tensor:
    """Maps of another size: means of squares where it divides the old one, else the nearest pixels."""
    old = x.shape[-2]
    if size == old:
        return x
    images = x.flatten(0, -4).permute(0, 3, 1, 2)
    shrink = old % size == 0
    images = functional.avg_pool2d(images, old // size) if shrink else functional.interpolate(images, size=(size, size))
    return images.permute(0, 2, 3, 1).unflatten(0, x.shape[:-3])

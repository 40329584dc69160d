"""Set VAEs on vectors and on 4x4 maps in PyTorch: Neural Statistician, CNS, HFSGM, CHFSGM, the latter two with LAG.

Sources: Edwards & Storkey 2017, arXiv:1606.02185; Giannone & Winther 2022, arXiv:2110.12279. The names of parameters
are those of exflow's; weights that the original code creates and never uses do not exist.
"""

import torch
from ml_collections import ConfigDict
from torch import Tensor, nn

from benchmarks.reference.layers import BatchNorm, Doubling, Linear, elu, relu
from benchmarks.reference.set_vae_blocks import ElementNetwork, Fusion, HiddenLayer, PostPool, ResidualBlock, Style
from benchmarks.reference.set_vae_layers import EXAMPLE, SET, Gaussian, Noise, aggregator, negative_bound

BASE = 4  # height and width of maps
SUPPORTED = {
    "likelihood": "bernoulli",
    "normalization": "batch",
    "head_normalization": "",
    "residual_posteriors": False,
    "log_variance_bound": 0.0,
    "film": False,
}


class Encoder(nn.Module):
    """Nine convolutions, every third of stride 2, and a projection."""

    def __init__(self, style: Style, filters: int, raw_elements: bool):
        super().__init__()
        self.style, self.raw_elements = style, raw_elements
        widths = [1, *(filters * 2**stage for stage in range(3) for _ in range(3))]
        self.stack = nn.Module()
        self.stack.layers = nn.ModuleList(
            Linear(widths[i], widths[i + 1], 3, stride=2 if i % 3 == 2 else 1) for i in range(9)
        )
        self.stack.norms = nn.ModuleList(map(BatchNorm, widths[1:]))
        self.projection = HiddenLayer(style, widths[-1] * (1 if style.maps else BASE**2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features for the latents of the set and for those of the elements."""
        for layer, norm in zip(self.stack.layers, self.stack.norms, strict=True):
            x = self.style.act(norm(layer(x)))
        x = x if self.style.maps else x.flatten(2)
        projected = self.projection(x)
        return projected, x if self.raw_elements else projected


class Decoder(nn.Module):
    """Fusion of all latents, a projection to 4x4 maps, pairs of convolutions and doublings."""

    def __init__(self, style: Style, latents: int, set_latents: int, filters: int, image_size: int):
        super().__init__()
        self.style = style
        self.fusion = Fusion(style, {"z": latents, "c": set_latents})
        self.projection = Linear(style.hidden, 4 * filters * (1 if style.maps else BASE**2))
        widths = [filters * 2**stage for stage in (2, 1, 0)]
        stack = self.stack = nn.Module()
        stack.layers, stack.norms, stack.doublings = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for num_in, width in zip([widths[0], *widths], widths, strict=False):
            padding = 0 if image_size == 28 and width == filters else None
            stack.layers.extend([Linear(num_in, width, 3), Linear(width, width, 3, padding=padding)])
            stack.doublings.append(Doubling(width, width))
            stack.norms.extend(BatchNorm(width) for _ in range(3))
        stack.output = Linear(filters, 1)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Logits of pixels."""
        x = self.projection(self.style.act(self.fusion(z=z, c=c)))
        x = x if self.style.maps else x.unflatten(2, (BASE, BASE, -1))
        layers, norms = iter(self.stack.layers), iter(self.stack.norms)
        for doubling in self.stack.doublings:
            for layer in (next(layers), next(layers), doubling):
                x = self.style.act(next(norms)(layer(x)))
        return self.stack.output(x)


class Hierarchy(nn.Module):
    """Levels of latents, each seeing those of the level above directly."""

    def __init__(self, style: Style, options: ConfigDict, features: int):
        super().__init__()
        self.style, self.num_levels = style, options.num_levels
        self.all = options.set_latent_levels == "all"
        if options.set_latent_levels not in ("top", "all"):
            raise ValueError(f"set_latent_levels: the reference has top and all, got {options.set_latent_levels}.")
        c, z, hidden = options.set_latent_dim, options.latent_dim, style.hidden
        kinds = self.kinds = {"posterior": options.aggregation, "prior": options.prior_aggregation}
        for level in range(self.num_levels):
            for name, kind in kinds.items() if level == 0 or self.all else ():
                if level == 0 and name == "prior":
                    continue
                prefix = f"context_{level}_{name}"
                inputs = {"c": c, "z": z, "h": hidden} if name == "posterior" else {"c": c, "z": z}
                for key, dim in inputs.items() if level else ():
                    self.add_module(f"{prefix}_{key}", Linear(dim, hidden))
                if level and kind == "mean" and not style.maps:
                    self.add_module(f"{prefix}_block", ResidualBlock(style, 3))
                self.add_module(f"{prefix}_aggregator", aggregator(kind, hidden))
                self.add_module(prefix, PostPool(style, c))
            above = {"z": z} if level else {}
            self.add_module(f"element_{level}_prior", ElementNetwork(style, z, above | {"c": c}))
            self.add_module(f"element_{level}_posterior", ElementNetwork(style, z, {"h": features, "c": c} | above))

    def forward(self, of_set: Tensor, of_example: Tensor, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
        """All latents of elements, all of the set, and the sum of the divergences."""
        c, z, all_c, all_z, divergences = None, None, [], [], []
        for level in range(self.num_levels):
            if level == 0 or self.all:
                p = self._pooled(level, "prior", None, c, z) if level else None
                q = self._pooled(level, "posterior", of_set, c, z)
                c = q.draw(noise(level, SET, q.mean.shape))
                all_c.append(c)
                divergences.append(q.divergence(p))
            above = {} if z is None else {"z": z}
            p = self.get_submodule(f"element_{level}_prior")(c=c, **above)
            p = Gaussian(*(part if level else part[:, None] for part in p))
            q = self.get_submodule(f"element_{level}_posterior")(h=of_example, c=c, **above)
            z = q.draw(noise(level, EXAMPLE, q.mean.shape))
            all_z.append(z)
            divergences.append(q.divergence(p))
        return torch.cat(all_z, -1), torch.cat(all_c, -1), torch.stack(divergences).sum()

    def _pooled(self, level: int, name: str, h: Tensor | None, c: Tensor | None, z: Tensor | None) -> Gaussian:
        """The Gaussian of a latent of the set."""
        prefix = f"context_{level}_{name}"
        skip, features = None, h
        if level:
            skip = self.get_submodule(f"{prefix}_c")(c)
            features = self.get_submodule(f"{prefix}_z")(z) + skip[:, None]
            features = features if h is None else features + self.get_submodule(f"{prefix}_h")(h)
            if self.kinds[name] == "mean" and not self.style.maps:
                features = self.get_submodule(f"{prefix}_block")(self.style.act(features))
        pooled = self.get_submodule(f"{prefix}_aggregator")(features)
        if skip is not None and self.kinds[name] == "mean":
            pooled = pooled + skip
        return self.get_submodule(prefix)(pooled)


class SetVae(nn.Module):
    """Encoder, hierarchy and decoder."""

    def __init__(self, config: ConfigDict, image_shape: tuple[int, int, int]):
        super().__init__()
        options = config.model.set_vae
        different = [key for key, value in SUPPORTED.items() if options[key] != value]
        if different or image_shape[2] != 1 or image_shape[0] not in (28, 32) or config.objective.free_bits:
            raise ValueError(f"config: the reference has no such {different or 'images'}. Use the published model.")
        act = {"elu": elu, "relu": relu}[options.activation]
        maps = options.hierarchy == "map"
        style = Style(options.hidden, maps, act, options.block_depth, options.num_blocks)
        filters, levels = options.encoder_filters, options.num_levels
        raw = 4 * filters * (1 if maps else BASE**2)
        self.encoder = Encoder(style, filters, options.raw_elements)
        self.hierarchy = Hierarchy(style, options, raw if options.raw_elements else options.hidden)
        set_latents = options.set_latent_dim * (levels if options.set_latent_levels == "all" else 1)
        self.decoder = Decoder(style, options.latent_dim * levels, set_latents, filters, image_shape[0])

    def forward(self, values: Tensor, noise: Noise, weight: float = 1.0) -> Tensor:
        """The loss of binary pixels `[batch, set, height, width, 1]`."""
        z, c, divergence = self.hierarchy(*self.encoder(values), noise)
        return negative_bound(self.decoder(z, c), values, divergence, weight)

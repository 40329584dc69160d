"""Matryoshka networks of residual modules in PyTorch, dense and convolutional, as the final published code has them.

Source: Bachman 2016, arXiv:1612.04739.
"""

import torch
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.reference.convert import Tree
from benchmarks.reference.layers import zeros
from benchmarks.reference.matnet_layers import Bias, BottomUp, End, Map, Merge, Noise, Plain, Style, TopDown
from exflow.core.likelihoods.likelihood import MAX_LOGIT
from exflow.models.matnet.networks.plan import Plan, plan

SUPPORTED = {
    "block": "residual",
    "activation": "leaky_relu",
    "bottom_up_activation": "",
    "activation_pattern": "all",
    "merge_state": True,
    "merge_difference": False,
    "prior": "standard",
    "scale_owner": "generator",
    "entry_normalized": True,
    "gain_of_outputs": False,
    "likelihood": "bernoulli_clipped",
    "head_filters": 0,
    "conditional": "",
    "num_components": 0,
    "top_everywhere": False,
}


def joined(tree: Tree) -> Tree:
    """Parameters with the parts of every kernel in one."""
    if not isinstance(tree, dict):
        return tree
    parts = [tree[name] for name in ("kernel", "kernel1") if name in tree]
    if len(parts) == 2:
        return {"kernel": torch.cat([torch.tensor(part) for part in parts], -2).numpy()}
    return {name: joined(branch) for name, branch in tree.items()}


class Generator(nn.Module):
    """The top-down chain."""

    def __init__(self, made: Plan, style: Style):
        super().__init__()
        levels, finest = made.levels, made.levels[-1]
        size = levels[0].width * max(levels[0].size, 1) ** 2
        self.top = End(style, made.top_latent_dim, made.top_hidden, size, made.top_shortcuts, state=True)
        for number, level in enumerate(levels):
            for group in range(level.groups):
                self.add_module(f"block{number}_{group}", TopDown(style, level.width, made.latent_dim))
            if number:
                self.add_module(f"up{number}", Plain(style, levels[number - 1].width, level.width, True, "up"))
        self.exit = range(made.exit_layers)
        for number in self.exit:
            self.add_module(f"exit{number}", Plain(style, finest.width, finest.width, style.maps))
        outputs = made.num_outputs if style.maps else made.num_outputs * made.image_shape[0] * made.image_shape[1]
        self.outputs, self.output_bias = Map(finest.width, outputs, style.maps), Bias(outputs)
        self.dist_scale = zeros()

    def decode(self, h: Tensor, noise: Noise) -> Tensor:
        """Logits of pixels, in one row."""
        for number in self.exit:
            h = self.get_submodule(f"exit{number}")(h, noise)
        return self.outputs(h, self.output_bias.bias).flatten(1)


class Chain(nn.Module):
    """The bottom-up chain."""

    def __init__(self, made: Plan, style: Style):
        super().__init__()
        self.made, self.style = made, style
        finest, pixels = made.levels[-1], made.image_shape[0] * made.image_shape[1]
        self.entry = Plain(style, 1 if style.maps else pixels, finest.width, style.maps)
        for number in range(made.entry_layers):
            self.add_module(f"entry{number + 1}", Plain(style, finest.width, finest.width, style.maps))
        for number, level in enumerate(made.levels):
            if number < len(made.levels) - 1:
                self.add_module(f"down{number}", Plain(style, made.levels[number + 1].width, level.width, True, "down"))
            for group in range(level.groups):
                self.add_module(f"level{number}_{group}", BottomUp(style, level.width))
        if made.shortcut_encoder:
            hidden, width = made.shortcut_encoder
            self.shortcut = Plain(style, pixels, hidden, maps=False)
            self.shortcut_out, self.shortcut_bias = Map(hidden, width), Bias(width)

    def forward(self, x: Tensor, noise: Noise) -> tuple[Tensor, dict[tuple[int, int], Tensor]]:
        """What the top sees, and what every group (level, number) sees."""
        u, seen = self.entry(x if self.style.maps else x.flatten(1), noise), {}
        for number in range(self.made.entry_layers):
            u = self.get_submodule(f"entry{number + 1}")(u, noise)
        for number in range(len(self.made.levels) - 1, -1, -1):
            if number < len(self.made.levels) - 1:
                u = self.get_submodule(f"down{number}")(u, noise)
            for group in range(self.made.levels[number].groups - 1, -1, -1):
                seen[number, group] = u
                u = self.get_submodule(f"level{number}_{group}")(u, noise)
        if self.made.shortcut_encoder:
            beside = self.shortcut_out(self.shortcut(x.flatten(1), noise), self.shortcut_bias.bias)
            seen = {name: torch.cat([b, beside], -1) for name, b in seen.items()}
            u = torch.cat([u, beside], -1)
        return u.flatten(1), seen


class Inference(nn.Module):
    """The bottom-up chain and the merging modules."""

    def __init__(self, made: Plan, style: Style):
        super().__init__()
        levels, beside = made.levels, made.shortcut_encoder[1] if made.shortcut_encoder else 0
        size = levels[0].width * max(levels[0].size, 1) ** 2
        self.bottom_up = Chain(made, style)
        self.to_top = End(
            style, size + beside, made.top_hidden, 2 * made.top_latent_dim, made.top_shortcuts, state=False
        )
        self.first_state = End(style, made.top_latent_dim, made.top_hidden, size, made.top_shortcuts, state=True)
        for number, level in enumerate(levels):
            for group in range(level.groups):
                merge = Merge(style, level.width, level.width + beside, 2 * made.latent_dim)
                self.add_module(f"merge{number}_{group}", merge)
            if number and level.groups:
                self.add_module(f"up{number}", Plain(style, levels[number - 1].width, level.width, True, "up"))


class MatNet(nn.Module):
    """Both networks."""

    def __init__(self, config: ConfigDict, image_shape: tuple[int, int, int]):
        super().__init__()
        options = config.model.matnet
        different = [key for key, value in SUPPORTED.items() if options[key] != value]
        different += ["normalization"] * (options.normalization not in ("batch", "none"))
        if (
            different
            or image_shape[2] != 1
            or (config.objective.bound, config.objective.annealing) != ("elbo", "squares")
        ):
            raise ValueError(f"config: the reference has no such {different or 'objective'}. Use the published model.")
        made = self.made = plan(options, 1, image_shape)
        normalized = options.normalization == "batch"
        styles = (
            Style(bool(made.levels[0].size), normalized, noise if normalized else 0.0)
            for noise in (options.generator_noise, options.inference_noise)
        )
        self.generator, self.inference = (
            make(made, style) for make, style in zip((Generator, Inference), styles, strict=True)
        )

    def forward(self, values: Tensor, noise: Noise, weight: float) -> Tensor:
        """The loss of binary pixels `[batch, height, width, 1]`; weight: of the divergences beside their squares."""
        generator, inference, levels = self.generator, self.inference, self.made.levels
        top, seen = inference.bottom_up(values, noise)
        z, loss = self._drawn(inference.to_top(top, noise), noise, weight)
        shape = levels[0].shape
        h, s = (module(z, noise).unflatten(1, shape) for module in (generator.top, inference.first_state))
        for number, level in enumerate(levels):
            if number:
                h = generator.get_submodule(f"up{number}")(h, noise)
                s = inference.get_submodule(f"up{number}")(s, noise) if level.groups else s
            for group in range(level.groups):
                moments, s = inference.get_submodule(f"merge{number}_{group}")(h, seen[number, group], s, noise)
                z, more = self._drawn(moments, noise, weight)
                h, loss = generator.get_submodule(f"block{number}_{group}")(h, z, noise), loss + more
        logits = generator.decode(h, noise).clamp(-MAX_LOGIT, MAX_LOGIT)
        cost = functional.binary_cross_entropy_with_logits(logits, values.flatten(1), reduction="sum")
        return (cost + loss) / len(values)

    def _drawn(self, moments: Tensor, noise: Noise, weight: float) -> tuple[Tensor, Tensor]:
        """A draw from a posterior, and what its divergences from N(0, 1) cost."""
        mean, log_variance = (self.generator.dist_scale * moments).chunk(2, -1)
        divergence = 0.5 * (torch.expm1(log_variance) - log_variance + mean.square())
        z = torch.addcmul(mean, torch.exp(0.5 * log_variance), noise(mean.shape))
        cost = weight * divergence.sum()
        return z, cost if weight == 1 else cost + (1 - weight) * divergence.square().sum()

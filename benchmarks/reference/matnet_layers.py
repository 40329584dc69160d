"""Layers and modules of Matryoshka networks in PyTorch, on vectors or on maps with channels last.

Source: Bachman 2016, arXiv:1612.04739. Names of modules and parameters are those of exflow's; where exflow splits a
kernel between inputs (`kernel`, `kernel1`), one kernel here multiplies the inputs side by side.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.reference.layers import BatchNorm, zeros

Noise = Callable[[torch.Size], Tensor]  # shape -> standard normal numbers


class Style(NamedTuple):
    """How the modules of a network are made."""

    maps: bool
    normalized: bool
    deviation: float  # of the noise in every normalisation


def phi(x: Tensor) -> Tensor:
    """The activation, in place of what the layer before has computed and does not need for its own gradient."""
    return functional.leaky_relu(x, 0.1, inplace=True)


class Map(nn.Module):
    """Dense layer, or 3x3 convolution that keeps ("") , halves ("down") or doubles ("up") height and width."""

    def __init__(self, num_in: int, num_out: int, maps: bool = False, resampling: str = ""):
        super().__init__()
        self.maps, self.resampling = maps, resampling
        self.kernel = zeros(
            *((num_in, num_out) if resampling == "up" else (num_out, num_in)), *((3, 3) if maps else ())
        )

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Apply the layer."""
        if not self.maps:
            return functional.linear(x, self.kernel, bias)
        images = x.permute(0, 3, 1, 2)
        if self.resampling == "up":
            out = functional.conv_transpose2d(images, self.kernel, bias, 2, padding=1, output_padding=1)
        else:
            out = functional.conv2d(images, self.kernel, bias, 2 if self.resampling else 1, padding=1)
        return out.permute(0, 2, 3, 1)


class Norm(nn.Module):
    """Batch normalisation with noise, or a bias."""

    def __init__(self, style: Style, channels: int):
        super().__init__()
        self.deviation = style.deviation
        self.normalized = BatchNorm(channels) if style.normalized else None
        if self.normalized is None:
            self.bias = zeros(channels)
        else:
            self.gain, self.bias = self.normalized.gain, self.normalized.bias

    def forward(self, u: Tensor, noise: Noise) -> Tensor:
        """Normalise `[..., channels]`."""
        if self.normalized is None:
            return u + self.bias
        out = self.normalized(u)
        return torch.addcmul(out, self.gain, noise(u.shape), value=self.deviation) if self.deviation else out

    def of(self, layer: Map, x: Tensor, noise: Noise) -> Tensor:
        """Normalise the output of a map of x."""
        return layer(x, self.bias) if self.normalized is None else self(layer(x), noise)


class Plain(nn.Module):
    """phi(norm(map))."""

    def __init__(self, style: Style, num_in: int, num_out: int, maps: bool, resampling: str = ""):
        super().__init__()
        self.Map_0, self.Norm_0 = Map(num_in, num_out, maps, resampling), Norm(style, num_out)

    def forward(self, x: Tensor, noise: Noise) -> Tensor:
        """Apply the layer."""
        return phi(self.Norm_0.of(self.Map_0, x, noise))


class End(nn.Module):
    """W2 phi(norm(W1 x)) [+ W3 x], then phi(norm()) towards a state (`state`), or a bias."""

    def __init__(self, style: Style, num_in: int, hidden: int, num_out: int, shortcut: bool, state: bool):
        super().__init__()
        self.Plain_0, self.Map_0 = Plain(style, num_in, hidden, maps=False), Map(hidden, num_out)
        self.Map_1 = Map(num_in, num_out) if shortcut else None
        self.Norm_0, self.Bias_0 = (Norm(style, num_out), None) if state else (None, Bias(num_out))

    def forward(self, x: Tensor, noise: Noise) -> Tensor:
        """The state, or moments."""
        out = self.Map_0(self.Plain_0(x, noise), None if self.Bias_0 is None else self.Bias_0.bias)
        out = out if self.Map_1 is None else out + self.Map_1(x)
        return out if self.Norm_0 is None else phi(self.Norm_0(out, noise))


class Bias(nn.Module):
    """A bias, which the map before it adds."""

    def __init__(self, channels: int):
        super().__init__()
        self.bias = zeros(channels)


class BottomUp(nn.Module):
    """a = phi(norm(map(u))), phi(norm(u + norm(map(a))))."""

    def __init__(self, style: Style, width: int):
        super().__init__()
        self.Plain_0, self.Map_0 = Plain(style, width, width, style.maps), Map(width, width, style.maps)
        self.Norm_0, self.Norm_1 = Norm(style, width), Norm(style, width)

    def forward(self, u: Tensor, noise: Noise) -> Tensor:
        """Apply the module."""
        change = self.Norm_0.of(self.Map_0, self.Plain_0(u, noise), noise)
        return phi(self.Norm_1(u + change, noise))


class TopDown(nn.Module):
    """Maps: a = phi(norm(map([h; z]))), phi(norm(h + map(a))). Vectors: see `exflow.models.matnet`."""

    def __init__(self, style: Style, width: int, latent: int):
        super().__init__()
        self.maps = style.maps
        maps = [Map(width, width, style.maps)]
        self.Plain_0 = Plain(style, width + latent if style.maps else width, width, style.maps)
        self.Norm_0 = Norm(style, width)
        if not style.maps:
            maps.insert(0, Map(latent, width))
            self.Norm_1 = Norm(style, width)
        for number, layer in enumerate(maps):
            self.add_module(f"Map_{number}", layer)

    def forward(self, h: Tensor, z: Tensor, noise: Noise) -> Tensor:
        """The next state."""
        if self.maps:
            a = self.Plain_0(torch.cat([h, z], -1), noise)
            return phi(h + self.Norm_0.of(self.Map_0, a, noise))
        h = phi(h + self.Map_0(z))
        change = self.Norm_0.of(self.Map_1, self.Plain_0(h, noise), noise)
        return phi(self.Norm_1(h + change, noise))


class Merge(nn.Module):
    """a = phi(norm(map([h; s; b]))), s' = phi(s + norm(map(a))), moments map(s') + bias."""

    def __init__(self, style: Style, width: int, features: int, moments: int):
        super().__init__()
        self.Plain_0 = Plain(style, 2 * width + features, width, style.maps)
        self.Map_0, self.Norm_0 = Map(width, width, style.maps), Norm(style, width)
        self.Map_1, self.Bias_0 = Map(width, moments, style.maps), Bias(moments)

    def forward(self, h: Tensor, b: Tensor, s: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Moments, and the next state."""
        a = self.Plain_0(torch.cat([h, s, b], -1), noise)
        s = phi(s + self.Norm_0.of(self.Map_0, a, noise))
        return self.Map_1(s, self.Bias_0.bias), s

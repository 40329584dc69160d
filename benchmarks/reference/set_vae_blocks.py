"""Blocks of the set VAEs on vectors and on 4x4 maps, in PyTorch: where vectors have a dense layer maps have 3x3."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from benchmarks.reference.layers import BatchNorm, Linear
from benchmarks.reference.set_vae_layers import Gaussian


class Style(NamedTuple):
    """What all blocks of a model share."""

    hidden: int
    maps: bool
    act: Callable[[Tensor], Tensor]
    block_depth: int
    num_blocks: int


class HiddenLayer(nn.Module):
    """Dense layer, normalisation, activation."""

    def __init__(self, style: Style, num_in: int):
        super().__init__()
        self.act = style.act
        self.layers, self.norms = nn.ModuleList([Linear(num_in, style.hidden)]), nn.ModuleList()
        self.norms.append(BatchNorm(style.hidden))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        return self.act(self.norms[0](self.layers[0](x)))


class ResidualBlock(nn.Module):
    """act(x + layers(x))."""

    def __init__(self, style: Style, depth: int):
        super().__init__()
        self.act, hidden = style.act, style.hidden
        self.layers = nn.ModuleList(Linear(hidden, hidden, 3 if style.maps else 0) for _ in range(depth))
        self.norms = nn.ModuleList(BatchNorm(hidden) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        hidden = x
        for index, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            hidden = norm(layer(hidden))
            hidden = self.act(hidden) if index < len(self.layers) - 1 else hidden
        return self.act(x + hidden)


class MomentsHead(nn.Module):
    """Mean and log-variance, normalised: of vectors with moments of the whole array."""

    def __init__(self, style: Style, dim: int):
        super().__init__()
        self.layers = nn.ModuleList([Linear(style.hidden, 2 * dim)])
        self.norms = nn.ModuleList([BatchNorm(2 * dim, whole=not style.maps)])

    def forward(self, x: Tensor) -> Gaussian:
        """The Gaussian over `dim` channels."""
        return Gaussian(*self.norms[0](self.layers[0](x)).chunk(2, -1))


class Fusion(nn.Module):
    """Sum of W v over the inputs; a latent of the set is given to every element."""

    def __init__(self, style: Style, inputs: dict[str, int]):
        super().__init__()
        for name, dim in inputs.items():
            self.add_module(name, Linear(dim, style.hidden))

    def forward(self, **inputs: Tensor) -> Tensor:
        """Fuse inputs."""
        rank = max(value.ndim for value in inputs.values())
        projected = [self.get_submodule(name)(value) for name, value in inputs.items()]
        return sum(value if value.ndim == rank else value[:, None] for value in projected)


class ElementNetwork(nn.Module):
    """Fusion, residual blocks, moments head."""

    def __init__(self, style: Style, dim: int, inputs: dict[str, int]):
        super().__init__()
        self.act, self.fusion, self.blocks = style.act, Fusion(style, inputs), nn.Module()
        self.blocks.residuals = nn.ModuleList(ResidualBlock(style, style.block_depth) for _ in range(style.num_blocks))
        self.head = MomentsHead(style, dim)

    def forward(self, **inputs: Tensor) -> Gaussian:
        """The Gaussian of the next latent of every element."""
        hidden = self.act(self.fusion(**inputs))
        for block in self.blocks.residuals:
            hidden = block(hidden)
        return self.head(hidden)


class PostPool(nn.Module):
    """From the pooled feature of a set to the Gaussian of its latent: a residual block of maps, else hidden layers."""

    def __init__(self, style: Style, dim: int):
        super().__init__()
        if style.maps:
            self.block = ResidualBlock(style, 3)
        else:
            self.hiddens = nn.ModuleList(HiddenLayer(style, style.hidden) for _ in range(2))
        self.sequence = [self.block] if style.maps else [*self.hiddens]
        self.head = MomentsHead(style, dim)

    def forward(self, x: Tensor) -> Gaussian:
        """The Gaussian over `dim` channels."""
        for part in self.sequence:
            x = part(x)
        return self.head(x)

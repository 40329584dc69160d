"""Deterministic modules of the three chains: ends of the chains, and what stands between them."""

import math

from flax import linen as nn
from jaxtyping import Array, Float

from exflow.models.matnet.networks.layers import Bias, Map, Mode, Norm, Plain, activated
from exflow.models.matnet.networks.plan import Style


class FromTop(nn.Module):
    """Top latent to the first state: a = phi(norm(W1 z)), phi(norm(W2 a [+ W3 z])).

    Attributes:
      shape: Of the state.
      hidden: Units of a; 0: there is only W3.
      shortcut: Whether there is W3.
      style: Of its layers.
    """

    shape: tuple[int, ...]
    hidden: int
    shortcut: bool
    style: Style

    @nn.compact
    def __call__(self, z: Float[Array, "batch top"], mode: Mode) -> Float[Array, "batch ..."]:
        """The state of every element."""
        out = _with_shortcut(z, self.hidden, math.prod(self.shape), self.shortcut, self.style, mode)
        return activated(self.style, Norm(self.style)(out, mode)).reshape(-1, *self.shape)


class ToTop(nn.Module):
    """Features to the moments of the top latent's posterior: a = phi(norm(W1 b)), W2 a + c [+ W3 b]."""

    num_moments: int
    hidden: int
    shortcut: bool
    style: Style

    @nn.compact
    def __call__(self, features: Float[Array, "batch ..."], mode: Mode) -> Float[Array, "batch moments"]:
        """Means, then log-variances, before the scale."""
        flat = features.reshape(features.shape[0], math.prod(features.shape[1:]))
        return Bias()(_with_shortcut(flat, self.hidden, self.num_moments, self.shortcut, self.style, mode))


def _with_shortcut(x: Array, hidden: int, features: int, shortcut: bool, style: Style, mode: Mode) -> Array:
    """W2 phi(norm(W1 x)) [+ W3 x], or without hidden units W3 x; modules of the one whose `__call__` runs."""
    if not hidden:
        return Map(features, style)(x)
    out = Map(features, style)(Plain(hidden, style)(mode, x))
    return out + Map(features, style)(x) if shortcut else out


class BottomUpResidual(nn.Module):
    """a = phi(norm(map(u))), phi(norm(u + norm(map(a))))."""

    features: int
    style: Style
    taps: tuple[int, ...]

    @nn.compact
    def __call__(self, mode: Mode, u: Float[Array, "batch ... features"]) -> Float[Array, "batch ... features"]:
        """Apply the block."""
        a = Plain(self.features, self.style, self.taps)(mode, u)
        change = Norm(self.style)(Map(self.features, self.style, self.taps)(a), mode)
        return activated(self.style, Norm(self.style)(u + change, mode))


class Projection(nn.Module):
    """Residual block with a map as its shortcut: a = phi(norm(map(u))), phi(norm(map(a) + map(u))).

    Attributes:
      features: Channels of the output.
      style: Of its layers.
      taps: Spatial shape of kernels.
      resampling: Of the first map and of the shortcut ("down"), or of the second map and the shortcut ("up").
    """

    features: int
    style: Style
    taps: tuple[int, ...]
    resampling: str = ""

    @nn.compact
    def __call__(self, mode: Mode, u: Float[Array, "batch ... num_in"]) -> Float[Array, "batch ... features"]:
        """Apply the block."""
        before, after = ("", "up") if self.resampling == "up" else (self.resampling, "")
        width = u.shape[-1] if before == after else self.features
        a = Plain(width, self.style, self.taps, before)(mode, u)
        out = Map(self.features, self.style, self.taps, after)(a)
        out = out + Map(self.features, self.style, self.taps, self.resampling)(u)
        return activated(self.style, Norm(self.style)(out, mode))

"""Modules that merge what came from above and from below: the posterior of a latent group, and the merging state."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from exflow.models.matnet.networks.gated import gated
from exflow.models.matnet.networks.layers import Bias, Map, Mode, Norm, Plain, activated
from exflow.models.matnet.networks.plan import Style

State = Float[Array, "batch ... width"]
Seen = Float[Array, "batch ... seen"]  # of the image; perhaps wider, by what stands beside the chain
Moments = Float[Array, "batch ... moments"]


class StatefulMerge(nn.Module):
    """a = phi(norm(map([h; b; s]))), s' = phi(s + norm(map(a))), moments map(s') + bias.

    Attributes:
      num_moments: Means and log-variances.
      style: Of its layers.
      taps: Spatial shape of kernels.
      difference: Whether h - b is a fourth input.
    """

    num_moments: int
    style: Style
    taps: tuple[int, ...]
    difference: bool = False

    @nn.compact
    def __call__(self, h: State, features: Seen, s: State, mode: Mode) -> tuple[Moments, State]:
        """Moments before the scale, and the next state."""
        width = s.shape[-1]
        own = [h, h - features, s] if self.difference else [h, s]
        a = Plain(width, self.style, self.taps)(mode, jnp.concatenate(own, axis=-1), features)
        change = Norm(self.style)(Map(width, self.style, self.taps)(a), mode)
        s = activated(self.style, s + change)
        return Bias()(Map(self.num_moments, self.style, self.taps)(s)), s


class StatelessMerge(nn.Module):
    """a = phi(norm(map([h; b]))), moments map(a) + map([h; b]) + bias; attributes as of `StatefulMerge`."""

    num_moments: int
    style: Style
    taps: tuple[int, ...]
    difference: bool = False

    @nn.compact
    def __call__(self, h: State, features: Seen, s: State | None, mode: Mode) -> tuple[Moments, None]:
        """Moments before the scale; there is no state."""
        del s
        own = jnp.concatenate([h, h - features], axis=-1) if self.difference else h
        a = Plain(h.shape[-1], self.style, self.taps)(mode, own, features)
        out = Map(self.num_moments, self.style, self.taps)(a)
        return Bias()(out + Map(self.num_moments, self.style, self.taps)(own, features)), None


class GruMerge(nn.Module):
    """s' is the gated step of s whose maps see [h; b; s], moments map(s') + bias.

    Attributes as of `StatefulMerge`; there is no difference.
    """

    num_moments: int
    style: Style
    taps: tuple[int, ...]
    difference: bool = False

    @nn.compact
    def __call__(self, h: State, features: Seen, s: State, mode: Mode) -> tuple[Moments, State]:
        """Moments before the scale, and the next state."""
        s = gated(s, lambda s: (jnp.concatenate([h, s], axis=-1), features), self.style, self.taps, mode)
        return Bias()(Map(self.num_moments, self.style, self.taps)(s)), s


MERGES = {"residual": StatefulMerge, "projection": StatefulMerge, "gru": GruMerge}

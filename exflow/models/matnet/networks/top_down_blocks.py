"""Modules by which a latent group enters the top-down chain: (state h, latent z) -> next state."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from exflow.models.matnet.networks.gated import gated
from exflow.models.matnet.networks.layers import Map, Mode, Norm, Plain, activated
from exflow.models.matnet.networks.plan import Style


class TopDownResidual(nn.Module):
    """Maps: a = phi(norm(map([h; z]))), phi(norm(h + map(a))). Vectors: e = phi(h + W z) first, in place of [h; z].

    Vectors have one more normalisation: a = phi(norm(W1 e)), phi(norm(e + norm(W2 a))).
    """

    features: int
    style: Style
    taps: tuple[int, ...]

    @nn.compact
    def __call__(
        self, h: Float[Array, "batch ... features"], z: Float[Array, "batch ... latent"], mode: Mode
    ) -> Float[Array, "batch ... features"]:
        """The next state."""
        if self.taps:
            a = Plain(self.features, self.style, self.taps)(mode, jnp.concatenate([h, z], axis=-1))
            change = Map(self.features, self.style, self.taps)(a)
        else:
            h = activated(self.style, h + Map(self.features, self.style)(z))
            a = Plain(self.features, self.style)(mode, h)
            change = Norm(self.style)(Map(self.features, self.style)(a), mode)
        return activated(self.style, Norm(self.style)(h + change, mode))


class ProjectionBlock(nn.Module):
    """The form of the first published code.

    Maps, whose size doubles: a = phi(norm(map([h; z]))), phi(norm(up(a) + up([h; z]))). Vectors: e = phi(h + W z),
    a = phi(norm(W1 e)), phi(norm(W2 a + W3 e)).
    """

    features: int
    style: Style
    taps: tuple[int, ...]

    @nn.compact
    def __call__(
        self, h: Float[Array, "batch ... above"], z: Float[Array, "batch ... latent"], mode: Mode
    ) -> Float[Array, "batch ... features"]:
        """The next state."""
        if self.taps:
            e = jnp.concatenate([h, z], axis=-1)
        else:
            e = activated(self.style, h + Map(self.features, self.style)(z))
        a = Plain(h.shape[-1], self.style, self.taps)(mode, e)
        up = "up" if self.taps else ""
        out = Map(self.features, self.style, self.taps, up)(a) + Map(self.features, self.style, self.taps, up)(e)
        return activated(self.style, Norm(self.style)(out, mode))


class GruBlock(nn.Module):
    """The gated step whose maps see [h; z]; the state keeps its features."""

    features: int
    style: Style
    taps: tuple[int, ...]

    @nn.compact
    def __call__(
        self, h: Float[Array, "batch ... features"], z: Float[Array, "batch ... latent"], mode: Mode
    ) -> Float[Array, "batch ... features"]:
        """The next state."""
        return gated(h, lambda h: (jnp.concatenate([h, z], axis=-1),), self.style, self.taps, mode)


TOP_DOWN_BLOCKS = {"residual": TopDownResidual, "projection": ProjectionBlock, "gru": GruBlock}

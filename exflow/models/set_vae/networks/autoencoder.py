"""Encoder, hierarchy of latents and decoder as one module with three entry points."""

from typing import Any

from flax import linen as nn
from jaxtyping import Array, Bool, Float

from exflow.core.latents.trace import Noise, TopDown


class SetAutoencoder(nn.Module):
    """The networks of a set VAE; densities and losses are computed from what they return.

    Attributes:
      encoder: (x_set, mask, train) -> features of every element.
      hierarchy: (noise, mask, features | None, set_latents | None, num_levels | None, train) -> `TopDown`.
      decoder: (example_inputs, set_inputs, mask, train) -> parameters of the likelihood of every element.
    """

    encoder: nn.Module
    hierarchy: nn.Module
    decoder: nn.Module

    def __call__(
        self, x_set: Float[Array, "batch set ..."], mask: Bool[Array, "batch set"], noise: Noise, train: bool
    ) -> tuple[TopDown, Float[Array, "batch set ..."]]:
        """Infer all latents of sets and decode them."""
        trace = self.top_down(noise, mask, self.encode(x_set, mask, train), None, None, train)
        return trace, self.decode(trace, mask, train)

    def encode(self, x_set: Float[Array, "batch set ..."], mask: Bool[Array, "batch set"], train: bool) -> Any:
        """Features of every element: a pytree of arrays with leading axes [batch, set]."""
        return self.encoder(x_set, mask, train)  # pyright: ignore[reportCallIssue]

    def top_down(
        self,
        noise: Noise,
        mask: Bool[Array, "batch set"],
        features: Any,
        set_latents: tuple[Array, ...] | None,
        num_levels: int | None,
        train: bool,
    ) -> TopDown:
        """Latents from features, from given latents of the set, or from the prior; see `DirectHierarchy`."""
        return self.hierarchy(noise, mask, features, set_latents, num_levels, train)  # pyright: ignore[reportCallIssue]

    def decode(self, trace: TopDown, mask: Bool[Array, "batch set"], train: bool) -> Float[Array, "batch set ..."]:
        """Parameters of the likelihood of every element."""
        return self.decoder(trace.example_inputs, trace.set_inputs, mask, train)  # pyright: ignore[reportCallIssue]

"""One level of SCHA-VAE: a latent of the set on one residual stream, then one of every element on another.

Sources: Giannone & Winther 2022, arXiv:2110.12279, section 4; Child 2021, arXiv:2011.10650, for the streams.
"""

from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, UInt32

from exflow.core.latents import diagonal_gaussian
from exflow.core.latents.trace import CONTEXT, ELEMENT, Latent, Level, Noise, draw
from exflow.models.set_vae.networks.bottleneck import Bottleneck, conv
from exflow.nn.aggregation import SetAggregator


class Streams(NamedTuple):
    """What the levels modify, from coarse to fine."""

    context: Float[Array, "batch height width channels"]  # of the set
    element: Float[Array, "batch set height width channels"]


class Given(NamedTuple):
    """What all levels of a resolution see."""

    noise: Noise
    mask: Bool[Array, "batch set"]
    evidence: Float[Array, "batch set height width channels"] | None  # of the elements; None: latents from the prior


class Known(NamedTuple):
    """A latent of the set that is not drawn."""

    value: Float[Array, "... batch height width dim"]
    given: Bool[Array, "..."] | None = None  # of a run of levels of which only some are known, whether this one is


class StreamLevel(nn.Module):
    """Half a level: one latent on one stream.

    prior(stream) gives the Gaussian p and features that join the stream; a draw from q or p joins it too; a residual
    block ends. The posterior is absolute, as in very deep VAEs, or with `residual_posterior` an offset from p.

    Attributes:
      width: Channels of the stream.
      dim: Channels of the latent.
      resolution: Height and width of the maps.
      scale: Factor on the initial values of what joins the stream.
      residual_posterior: See above.
      log_variance_bound: Of both Gaussians; 0: none.
    """

    width: int
    dim: int
    resolution: int
    scale: float
    residual_posterior: bool = False
    log_variance_bound: float = 0.0

    @nn.compact
    def __call__(
        self,
        stream: Float[Array, "... height width channels"],
        evidence: Float[Array, "... height width num_in"] | None,
        known: Known | None,
        nonempty: Bool[Array, " batch"] | None,
        noise: Noise,
        index: UInt32[Array, ""],
        which: int,
        prior_input: Float[Array, "... height width channels"] | None = None,
    ) -> tuple[Float[Array, "... height width channels"], Latent]:
        """Draw the latent and let it join the stream.

        Args:
          stream: What has been drawn above.
          evidence: What the posterior sees; None draws from the prior.
          known: The latent itself, where it is known.
          nonempty: Where the posterior is that of an element or a set that has any; None: everywhere.
          noise: Randomness of the pass.
          index: Number of the level, for the noise.
          which: CONTEXT or ELEMENT.
          prior_input: Added to what the prior sees.

        Returns:
          The stream after the level, and its latent.
        """
        width, resolution = self.width, self.resolution
        prior = Bottleneck(width, 2 * self.dim + width, resolution, scale=0.0, name="prior")
        outputs = prior(stream if prior_input is None else stream + prior_input)
        p, q = diagonal_gaussian.from_moments(outputs[..., : 2 * self.dim], self.log_variance_bound), None
        if evidence is not None:
            moments = Bottleneck(width, 2 * self.dim, resolution, name="posterior")(evidence)
            q = diagonal_gaussian.from_moments(moments, self.log_variance_bound)
            q = diagonal_gaussian.shifted(p, q) if self.residual_posterior else q
            if nonempty is not None:
                q = diagonal_gaussian.where(nonempty.reshape(-1, 1, 1, 1), q, p)
        if known is not None and known.given is None:
            latent = Latent(known.value, None)
        else:
            latent = Latent(draw(noise, p if q is None else q, index, which), p, q)
        if known is not None and known.given is not None:
            latent = latent._replace(value=jnp.where(known.given, known.value, latent.value))
        joined = stream + outputs[..., 2 * self.dim :] + conv(width, scale=self.scale, name="latent")(latent.value)
        return Bottleneck(width, width, resolution, residual=True, scale=self.scale, name="output")(joined), latent


class StreamStep(nn.Module):
    """A level as `nn.scan` wants it: (streams, number, context, what is given) -> (streams, latents).

    Attributes: those of `StreamHierarchy`, for levels of one resolution.
    """

    width: int
    resolution: int
    context_dim: int
    latent_dim: int
    scale: float
    aggregation: str
    latents_to_contexts: bool
    residual_posteriors: bool
    log_variance_bound: float
    limit_level: int

    @nn.compact
    def __call__(
        self,
        streams: Streams,
        index: UInt32[Array, ""],
        context: Known | None,
        given: Given,
    ) -> tuple[Streams, Level]:
        """Draw the latents; a known `context` is taken for that of the set."""
        (xc, xz), (noise, mask, evidence) = streams, given
        options = {"width": self.width, "resolution": self.resolution, "scale": self.scale}
        options |= {"residual_posterior": self.residual_posteriors, "log_variance_bound": self.log_variance_bound}

        def joined(before: Array, after: Array) -> Array:
            return jnp.where(index < self.limit_level, after, before) if self.limit_level else after

        projected = conv(self.width, scale=self.scale, name="element_to_context")(xz)
        projected = jnp.where(index > 0, projected, 0.0)  # above the top level no latent has been drawn
        pooled, attention, edge = None, None, None
        if evidence is not None and (context is None or context.given is not None):
            seen = evidence + xc[:, None] + projected
            pooled, attention = SetAggregator(self.aggregation, name="aggregator")(seen, mask)
        if self.latents_to_contexts:
            edge, _ = SetAggregator("mean")(projected, mask)
        level = StreamLevel(dim=self.context_dim, name="context", **options)
        after, of_set = level(xc, pooled, context, mask.any(axis=1), noise, index, CONTEXT, edge)
        xc = joined(xc, after)
        xz = xz + conv(self.width, scale=self.scale, name="context_to_element")(xc)[:, None]
        seen = None if evidence is None else jnp.concatenate([xz, evidence], axis=-1)
        level = StreamLevel(dim=self.latent_dim, name="element", **options)
        after, of_elements = level(xz, seen, None, None, noise, index, ELEMENT)
        return Streams(xc, joined(xz, after)), Level(of_set, of_elements, attention)

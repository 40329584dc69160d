"""One level of SCHA-VAE: a latent of the set on one residual stream, then one of every element on another.

Sources: Giannone & Winther 2022, arXiv:2110.12279, section 4; Child 2021, arXiv:2011.10650, for the streams.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, UInt32

from exflow.core.latents import diagonal_gaussian
from exflow.core.latents.diagonal_gaussian import DiagonalGaussian
from exflow.core.latents.trace import EXAMPLE, SET, Latent, Level, Noise, draw
from exflow.models.set_vae.networks.bottleneck import Bottleneck, conv
from exflow.nn.aggregation import SetAggregator


class Streams(NamedTuple):
    """What the levels modify, from coarse to fine."""

    of_set: Float[Array, "batch height width channels"]
    of_examples: Float[Array, "batch set height width channels"]


class GivenLatents(NamedTuple):
    """Latents of the set that are not drawn: of a run of levels, or of one of them."""

    value: Float[Array, "*levels batch height width dim"]
    known: Bool[Array, "*levels"] | None  # levels that have theirs; None: all


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
        features: Float[Array, "... height width num_in"] | None,
        latent_of: Callable[[DiagonalGaussian, DiagonalGaussian | None], Latent],
        nonempty: Bool[Array, " batch"] | None = None,
        prior_input: Float[Array, "... height width channels"] | None = None,
    ) -> tuple[Float[Array, "... height width channels"], Latent]:
        """Draw the latent and let it join the stream.

        Args:
          stream: What has been drawn above.
          features: What the posterior sees; None: there is none.
          latent_of: (prior p, posterior q | None) -> latent.
          nonempty: Where the posterior is that of an element or a set that has any; None: everywhere.
          prior_input: Added to what the prior sees.

        Returns:
          The stream after the level, and its latent.
        """
        width, resolution = self.width, self.resolution
        prior = Bottleneck(width, 2 * self.dim + width, resolution, scale=0.0, name="prior")
        outputs = prior(stream if prior_input is None else stream + prior_input)
        p, q = diagonal_gaussian.from_moments(outputs[..., : 2 * self.dim], self.log_variance_bound), None
        if features is not None:
            moments = Bottleneck(width, 2 * self.dim, resolution, name="posterior")(features)
            q = diagonal_gaussian.from_moments(moments, self.log_variance_bound)
            q = diagonal_gaussian.shifted(p, q) if self.residual_posterior else q
            if nonempty is not None:
                q = diagonal_gaussian.where(nonempty.reshape(-1, 1, 1, 1), q, p)
        latent = latent_of(p, q)
        joined = stream + outputs[..., 2 * self.dim :] + conv(width, scale=self.scale, name="latent")(latent.value)
        return Bottleneck(width, width, resolution, residual=True, scale=self.scale, name="output")(joined), latent


class StreamStep(nn.Module):
    """A level as `nn.scan` wants it: (streams, what it has of its own, what all levels see) -> (streams, latents).

    Attributes: those of `StreamHierarchy`, for levels of one resolution, and
      limit: Latents of levels from this one on do not enter the streams; None: all do.
    """

    width: int
    resolution: int
    set_latent_dim: int
    latent_dim: int
    scale: float
    aggregation: str
    examples_to_set_latents: bool
    residual_posteriors: bool
    log_variance_bound: float
    limit: int | None

    @nn.compact
    def __call__(
        self,
        streams: Streams,
        index: UInt32[Array, ""],
        given: GivenLatents | None,
        noise: Noise,
        mask: Bool[Array, "batch set"],
        features: Float[Array, "batch set height width channels"] | None,
    ) -> tuple[Streams, Level]:
        """Draw the latents.

        Args:
          streams: What has been drawn above.
          index: Number of the level.
          given: The latent of the set, where it is known.
          noise: Randomness of the pass.
          mask: Which elements exist.
          features: Of the elements; None draws from the priors.

        Returns:
          The streams after the level, and its latents.
        """
        xc, xz = streams
        options = {"width": self.width, "resolution": self.resolution, "scale": self.scale}
        options |= {"residual_posterior": self.residual_posteriors, "log_variance_bound": self.log_variance_bound}

        def joined(before: Array, after: Array) -> Array:
            return after if self.limit is None else jnp.where(index < self.limit, after, before)

        def of_set(p: DiagonalGaussian, q: DiagonalGaussian | None) -> Latent:
            if given is None:
                return _drawn(noise, index, SET, p, q)
            if given.known is None:
                return Latent(given.value, None)
            latent = _drawn(noise, index, SET, p, q)
            return latent._replace(value=jnp.where(given.known, given.value, latent.value))

        def of_examples(p: DiagonalGaussian, q: DiagonalGaussian | None) -> Latent:
            return _drawn(noise, index, EXAMPLE, p, q)

        projected = conv(self.width, scale=self.scale, name="element_to_context")(xz)
        projected = jnp.where(index > 0, projected, 0.0)  # above the top level no latent has been drawn
        pooled, attention, edge = None, None, None
        if features is not None and (given is None or given.known is not None):
            seen = features + xc[:, None] + projected
            pooled, attention = SetAggregator(self.aggregation, name="aggregator")(seen, mask)
        if self.examples_to_set_latents:
            edge, _ = SetAggregator("mean")(projected, mask)
        level = StreamLevel(dim=self.set_latent_dim, name="context", **options)
        after, set_latent = level(xc, pooled, of_set, mask.any(axis=1), edge)
        xc = joined(xc, after)
        xz = xz + conv(self.width, scale=self.scale, name="context_to_element")(xc)[:, None]
        seen = None if features is None else jnp.concatenate([xz, features], axis=-1)
        level = StreamLevel(dim=self.latent_dim, name="element", **options)
        after, example_latent = level(xz, seen, of_examples)
        return Streams(xc, joined(xz, after)), Level(set_latent, example_latent, attention)


def _drawn(
    noise: Noise, index: UInt32[Array, ""], stream: int, p: DiagonalGaussian, q: DiagonalGaussian | None
) -> Latent:
    return Latent(draw(noise, p if q is None else q, index, stream), p, q)

"""Top-down hierarchies whose levels see the latents above them directly: VAE, NS, CNS, HFSGM, CHFSGM and with LAG.

    p(c_L) prod_s p(z_L^s | c_L) prod_{l<L} [ p(c_l | c_{l+1}, Z_{l+1}) prod_s p(z_l^s | z_{l+1}^s, c_l) ]

and a posterior of the same order. Which latents of the set exist is `set_latent_levels`: "none" is the hierarchical
VAE, "top" the Neural Statistician (one c, seen by all levels), "all" the hierarchical few-shot model. Sources:
Edwards & Storkey 2017, arXiv:1606.02185, section 3; Giannone & Winther 2022, arXiv:2110.12279, sections 3 and 4.
"""

from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from exflow.core.latents import diagonal_gaussian
from exflow.core.latents.diagonal_gaussian import DiagonalGaussian
from exflow.core.latents.trace import EXAMPLE, SET, Latent, Level, Noise, TopDown, draw
from exflow.models.set_vae.networks.blocks import BlockStyle, ElementNetwork, PostPool, ResidualBlock
from exflow.nn.aggregation import SetAggregator
from exflow.nn.layers import Linear

SET_LATENT_LEVELS = ("none", "top", "all")


class EncoderFeatures(NamedTuple):
    """What the encoder says of every element."""

    of_set: Float[Array, "batch set ..."]  # enters the posteriors of the latents of the set
    of_example: Float[Array, "batch set ..."]  # enters the posteriors of its own latents


class DirectHierarchy(nn.Module):
    """See the module's description.

    Attributes:
      style: Of all networks.
      num_levels: L.
      set_latent_levels: "none", "top" or "all".
      set_latent_dim: Channels of every c.
      latent_dim: Channels of every z.
      aggregation: Of elements to a set in posteriors: a kind of `SetAggregator`.
      prior_aggregation: The same in priors of the lower latents of the set.
      film: Latents of the set modulate the other inputs of element networks.
      residual_post_pool: See `PostPool`.
      residual_posteriors: Posteriors are offsets from their priors.
      map_size: Height and width of the maps, () for vectors.
    """

    style: BlockStyle
    num_levels: int
    set_latent_levels: str
    set_latent_dim: int
    latent_dim: int
    aggregation: str = "mean"
    prior_aggregation: str = "mean"
    film: bool = False
    residual_post_pool: bool = False
    residual_posteriors: bool = False
    map_size: tuple[int, ...] = ()

    @nn.compact
    def __call__(
        self,
        noise: Noise,
        mask: Bool[Array, "batch set"],
        features: EncoderFeatures | None,
        set_latents: tuple[Array, ...] | None = None,
        num_levels: int | None = None,
        train: bool = False,
    ) -> TopDown:
        """Go down the levels.

        Args:
          noise: Randomness.
          mask: Which elements exist; its shape says how many are drawn.
          features: Of the elements; None draws them from the prior.
          set_latents: Latents of the set, top first; those of lower levels may be missing. What is missing is inferred
            from the features, or without features drawn from the prior. The prior stands in for the posterior of a set
            without elements.
          num_levels: Latents below so many upper levels are drawn and counted, but the decoder gets zeros in their
            place; None: none is left out.
          train: Normalise by the moments of the batch.

        Returns:
          All latents.
        """
        if self.set_latent_levels not in SET_LATENT_LEVELS:
            raise ValueError(f"set_latent_levels: expected one of {SET_LATENT_LEVELS}, got {self.set_latent_levels!r}.")
        nonempty = mask.any(axis=1)
        c, z, levels, given = None, None, [], set_latents or ()
        for index in range(self.num_levels):
            of_set, attention = None, None
            if self.set_latent_levels == "all" or (self.set_latent_levels == "top" and index == 0):
                if index < len(given):
                    of_set = Latent(given[index], None)
                else:
                    of_set, attention = self._set_latent(index, noise, mask, nonempty, features, c, z, train)
                c = of_set.value
            of_examples = self._example_latent(index, noise, mask, features, c, z, train)
            z = of_examples.value
            levels.append(Level(of_set, of_examples, attention))
        return _top_down(tuple(levels), num_levels)

    @nn.nowrap
    def _set_latent(
        self,
        index: int,
        noise: Noise,
        mask: Array,
        nonempty: Array,
        features: EncoderFeatures | None,
        c: Array | None,
        z: Array | None,
        train: bool,
    ) -> tuple[Latent, Array | None]:
        """The latent of the set at a level, from the latents of the level above."""
        name = f"context_{index}"  # as in checkpoints
        if index == 0:
            p = diagonal_gaussian.standard((mask.shape[0], *self.map_size, self.set_latent_dim))
        else:
            p, _ = self._pooled(f"{name}_prior", self.prior_aggregation, None, c, z, mask, train)
        if features is None:
            return Latent(draw(noise, p, index, SET), p), None
        q, attention = self._pooled(f"{name}_posterior", self.aggregation, features.of_set, c, z, mask, train)
        q = diagonal_gaussian.shifted(p, q) if self.residual_posteriors else q
        condition = nonempty.reshape(-1, *(1,) * (q.mean.ndim - 1))
        q = diagonal_gaussian.where(condition, q, p)
        return Latent(draw(noise, q, index, SET), p, q), attention

    @nn.nowrap
    def _pooled(
        self,
        name: str,
        aggregation: str,
        h: Array | None,
        c: Array | None,
        z: Array | None,
        mask: Array,
        train: bool,
    ) -> tuple[DiagonalGaussian, Array | None]:
        """Gaussian of a latent of the set from what is known of its elements; below the top also from c and z.

        Mean and maximum pool transformed elements and let c skip the pooling; attention pools the plain sum.
        """
        style, skip = self.style, None
        if c is None or z is None:
            assert h is not None
            features = h
        else:
            linear = {"features": style.hidden, "initialization": style.initialization}
            skip = Linear(**linear, name=f"{name}_c")(c)
            features = Linear(**linear, name=f"{name}_z")(z) + skip[:, None]
            if h is not None:
                features = features + Linear(**linear, name=f"{name}_h")(h)
            if aggregation in ("mean", "max") and not style.maps:
                features = ResidualBlock(style, 3, name=f"{name}_block")(style.act(features), mask, train)
        pooled, attention = SetAggregator(aggregation, initialization=style.initialization, name=f"{name}_aggregator")(
            features, mask
        )
        if skip is not None and aggregation in ("mean", "max"):
            pooled = pooled + skip
        post_pool = PostPool(style, self.set_latent_dim, self.residual_post_pool, name=name)
        return post_pool(pooled, mask.any(axis=1), train), attention

    @nn.nowrap
    def _example_latent(
        self,
        index: int,
        noise: Noise,
        mask: Array,
        features: EncoderFeatures | None,
        c: Array | None,
        z: Array | None,
        train: bool,
    ) -> Latent:
        """The latents of the elements at a level, from those of the level above and the latent of the set."""
        style, name, shape = self.style, f"element_{index}", (*mask.shape, *self.map_size, self.latent_dim)
        dims = (("z", self.latent_dim), ("c", self.set_latent_dim))
        if c is None and z is None:
            p = diagonal_gaussian.standard(shape)
        else:
            network = ElementNetwork(style, self.latent_dim, dims, self.film, name=f"{name}_prior")
            if z is None:  # the same for all elements of a set
                p = DiagonalGaussian(*(part[:, None] for part in network(mask.any(axis=1), train, z=None, c=c)))
                p = DiagonalGaussian(*(jnp.broadcast_to(part, shape) for part in p))
            else:
                p = network(mask, train, z=z, c=c)
        if features is None:
            return Latent(draw(noise, p, index, EXAMPLE), p)
        dims = (("h", features.of_example.shape[-1]), *dims)
        network = ElementNetwork(style, self.latent_dim, dims, self.film, name=f"{name}_posterior")
        q = network(mask, train, h=features.of_example, z=z, c=c)
        q = diagonal_gaussian.shifted(p, q) if self.residual_posteriors else q
        return Latent(draw(noise, q, index, EXAMPLE), p, q)


def _top_down(levels: tuple[Level, ...], num_levels: int | None) -> TopDown:
    """The pass whose decoder sees the latents of so many upper levels, and zeros for the others."""

    def joined(latents: list[Latent | None]) -> Array | None:
        used = len(levels) if num_levels is None else num_levels
        values = [
            latent.value if index < used else jnp.zeros_like(latent.value)
            for index, latent in enumerate(latents)
            if latent is not None
        ]
        return jnp.concatenate(values, axis=-1) if values else None

    of_examples = joined([level.example_latent for level in levels])
    assert of_examples is not None
    return TopDown(levels, of_examples, joined([level.set_latent for level in levels]))

"""What a pass down a hierarchy of latent variables takes and returns, whatever the networks.

A hierarchy draws, from the top level l = L to the bottom, a latent c_l of the whole set and a latent z_l of every
element. Source: Giannone & Winther 2022, arXiv:2110.12279, section 3.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt32

from exflow.core.latents import diagonal_gaussian
from exflow.core.latents.diagonal_gaussian import DiagonalGaussian
from exflow.core.latents.gaussian_mixture import GaussianMixture
from exflow.typing import PRNGKey

SET, EXAMPLE = range(2)  # streams of randomness


class Latent(NamedTuple):
    """A latent variable of one level: of a set `[batch, ...]` or of elements `[batch, set, ...]`."""

    value: Float[Array, "..."]
    # Prior given the levels above, a mixture of the top latent only; None for a latent of the set that was given
    p: DiagonalGaussian | GaussianMixture | None
    q: DiagonalGaussian | None = None  # posterior; None where the value is from the prior or was given


class Level(NamedTuple):
    """One level of a hierarchy."""

    set_latent: Latent | None  # None where the level has none
    example_latent: Latent
    attention: Float[Array, "batch heads set"] | None = None  # of the posterior of the set's latent, where it has any


class TopDown(NamedTuple):
    """The levels of a pass, top first, and what the decoder makes elements of."""

    levels: tuple[Level, ...]
    example_inputs: Float[Array, "batch set ..."]  # of the decoder, from the latents of every element
    set_inputs: Float[Array, "batch ..."] | None  # the same from those of the set

    @property
    def set_latents(self) -> tuple[Array, ...]:
        """The latents of the set, top first."""
        return tuple(level.set_latent.value for level in self.levels if level.set_latent is not None)


class Noise(NamedTuple):
    """Randomness of a pass.

    With seeds the noise of an element is a function of the key and its own seed alone, and that of a set of the
    smallest seed of its elements: then permuted, padded and rearranged sets give the same numbers, and a set with one
    more element mostly shares the noise of the set without it.
    """

    key: PRNGKey | None  # None: zero noise, every latent is the mean of its Gaussian
    seeds: UInt32[Array, "batch set"] | None = None
    mask: Bool[Array, "batch set"] | None = None
    means: tuple[int, ...] = ()  # of SET and EXAMPLE, those whose latents are the means of their Gaussians


def draw(noise: Noise, dist: DiagonalGaussian, level: int | UInt32[Array, ""], stream: int) -> Float[Array, "..."]:
    """A reparametrised draw from a Gaussian over sets `[batch, ...]` or elements `[batch, set, ...]`.

    Args:
      noise: Randomness of the pass.
      dist: What to draw from.
      level: Number of the level, which may be traced.
      stream: SET or EXAMPLE.
    """
    shape = jnp.broadcast_shapes(dist.mean.shape, dist.log_variance.shape)
    if noise.key is None or stream in noise.means:
        return jnp.broadcast_to(dist.mean, shape)
    key = jax.random.fold_in(noise.key, 2 * level + stream)
    if noise.seeds is None:
        return diagonal_gaussian.from_noise(dist, jax.random.normal(key, shape, dist.mean.dtype))
    seeds, lead = noise.seeds, 2
    if stream == SET:
        present = seeds if noise.mask is None else jnp.where(noise.mask, seeds, jnp.uint32(2**32 - 1))
        seeds, lead = present.min(axis=1), 1

    def one(seed: Array) -> Array:
        return jax.random.normal(jax.random.fold_in(key, seed), shape[lead:], dist.mean.dtype)

    values = jax.vmap(one)(seeds.reshape(-1)).reshape(shape)
    return diagonal_gaussian.from_noise(dist, values)

"""Gaussians with independent entries, parametrised by mean and log-variance: the latent variables of the set VAEs.

All functions are elementwise; sum over the axes that make up one latent variable.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exflow.core.distributions import LOG_2_PI
from exflow.typing import PRNGKey


class DiagonalGaussian(NamedTuple):
    """N(mean, exp(log_variance)) in every entry; the two broadcast against each other."""

    mean: Float[Array, "..."]
    log_variance: Float[Array, "..."]


def from_moments(moments: Float[Array, "*lead twice"], bound: float = 0.0) -> DiagonalGaussian:
    """Halves of the last axis as mean and log-variance.

    Args:
      moments: Output of a network.
      bound: b > 0 keeps log-variances inside (-b, b), as b tanh(log_variance / b), which hardly changes small ones.

    Returns:
      Gaussian over half as many entries.
    """
    mean, log_variance = jnp.split(moments, 2, axis=-1)
    return DiagonalGaussian(mean, bound * jnp.tanh(log_variance / bound) if bound else log_variance)


def shifted(p: DiagonalGaussian, offset: DiagonalGaussian) -> DiagonalGaussian:
    """The Gaussian whose mean and log-variance lie an offset beside those of `p`."""
    return DiagonalGaussian(p.mean + offset.mean, p.log_variance + offset.log_variance)


def standard(shape: tuple[int, ...]) -> DiagonalGaussian:
    """N(0, 1) in every entry."""
    return DiagonalGaussian(jnp.zeros(shape), jnp.zeros(shape))


def from_noise(dist: DiagonalGaussian, noise: Float[Array, "..."]) -> Float[Array, "..."]:
    """The reparametrised draw mean + sd * noise (Kingma & Welling 2014, arXiv:1312.6114, section 2.4)."""
    return dist.mean + jnp.exp(0.5 * dist.log_variance) * noise


def sample(key: PRNGKey, dist: DiagonalGaussian) -> Float[Array, "..."]:
    """A reparametrised draw of every entry."""
    shape = jnp.broadcast_shapes(dist.mean.shape, dist.log_variance.shape)
    return from_noise(dist, jax.random.normal(key, shape, dist.mean.dtype))


def log_prob(dist: DiagonalGaussian, z: Float[Array, "..."]) -> Float[Array, "..."]:
    """Log density of every entry, nats."""
    return -0.5 * (LOG_2_PI + dist.log_variance + (z - dist.mean) ** 2 * jnp.exp(-dist.log_variance))


def kl_divergence(q: DiagonalGaussian, p: DiagonalGaussian) -> Float[Array, "..."]:
    """KL(q || p) of every entry in closed form, nats, at least 0 up to rounding."""
    log_ratio = q.log_variance - p.log_variance
    return 0.5 * (jnp.expm1(log_ratio) - log_ratio + (q.mean - p.mean) ** 2 * jnp.exp(-p.log_variance))


def where(condition: Array, a: DiagonalGaussian, b: DiagonalGaussian) -> DiagonalGaussian:
    """`a` where the condition holds, else `b`."""
    return DiagonalGaussian(*(jnp.where(condition, x, y) for x, y in zip(a, b, strict=True)))

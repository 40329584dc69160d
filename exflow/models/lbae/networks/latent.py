"""Latents of the autoencoder: bits with a straight-through gradient, and what they are compared with."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exflow.models.lbae.networks.plan import AutoencoderPlan
from exflow.nn.straight_through import binarize, flipped, straight_through
from exflow.typing import PRNGKey

LIMIT = 10.0  # of means and log-variances of Gaussian latents, in the divergence only


class Coded(NamedTuple):
    """The latents of a batch.

    Attributes:
      code: What the decoder sees.
      soft: What bits and rounded numbers are made of, in [-1, 1]; of other latents their mean.
      kl: KL(q || N(0, I)) in nats per image; 0 but for Gaussian latents.
    """

    code: Float[Array, "batch latent"]
    soft: Float[Array, "batch latent"]
    kl: Float[Array, " batch"]


def latent(plan: AutoencoderPlan, heads: Float[Array, "batch outputs"], key: PRNGKey | None) -> Coded:
    """What the decoder sees, given what the encoder emits.

    Args:
      plan: Which latents.
      heads: Outputs of the encoder.
      key: Of everything random, in training; None: bits are signs, and Gaussian latents their means.
    """
    none = jnp.zeros(heads.shape[:1], heads.dtype)
    if plan.latent == "bits":
        draw_key, flip_key = (None, None) if key is None else jax.random.split(key)
        bits, soft = binarize(heads, plan.gradient, draw_key)
        if flip_key is not None and plan.flip_probability:
            bits = flipped(bits, flip_key, plan.flip_probability)
        return Coded(bits, soft, none)
    if plan.latent == "rounded":
        soft = jnp.tanh(heads)
        return Coded(straight_through(jnp.round(soft, plan.decimals), soft), soft, none)
    if plan.latent == "continuous":
        return Coded(heads, heads, none)
    mean, log_variance = jnp.split(heads, 2, axis=-1)
    code = mean
    if key is not None:
        code = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape, mean.dtype)
    near, log_near = jnp.clip(mean, -LIMIT, LIMIT), jnp.clip(log_variance, -LIMIT, LIMIT)
    kl = 0.5 * (near**2 + jnp.exp(log_near) - log_near - 1.0).sum(axis=-1)
    return Coded(code, mean, kl)

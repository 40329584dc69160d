"""What the networks of a conditional Matryoshka network see of images with hidden pixels."""

from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from exflow.core.likelihoods.hidden_pixels import split_mask
from exflow.core.observed import beside, fill
from exflow.models.matnet.networks.bottom_up import Features


class Seen(NamedTuple):
    """Features of images, for posteriors, and of their observed pixels, for the priors of a conditional network."""

    posterior: Features | None  # None: latents are drawn from the priors
    prior: Features | None = None


class Observed(nn.Module):
    """Images beside their masks -> the inputs of both bottom-up chains.

    Of c channels: c + 1 for the prior, the filled image and the mask; 2 c + 2 for the posterior, with the whole image
    and the mask of what is to be inferred behind them, as published. What fills the hidden pixels, the mean of the
    training images, is a statistic of these, see `fit_fill`.
    """

    @nn.compact
    def __call__(
        self, values: Float[Array, "batch height width more"]
    ) -> tuple[Float[Array, "batch height width prior"], Float[Array, "batch height width posterior"]]:
        """Inputs for the prior, which no hidden pixel touches, and for the posterior."""
        x, observed = split_mask(values)
        mean = self.variable("batch_stats", "train_mean", jnp.zeros, x.shape[1:])
        seen = beside(fill(x, observed, mean.value), observed)
        return seen, jnp.concatenate([seen, x, 1.0 - observed.astype(x.dtype)], axis=-1)

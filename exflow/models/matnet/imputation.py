"""Imputation by a conditional Matryoshka network: masks as in training, and draws of what they hide."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, UInt8
from ml_collections import ConfigDict

from exflow.core.latents.bounds import DRAWS_AT_ONCE
from exflow.core.latents.elements import EncodedElement
from exflow.core.latents.seeds import content_seeds
from exflow.core.likelihoods.likelihood import Likelihood
from exflow.core.observed import Imputation, beside
from exflow.model import LatentFunctions
from exflow.models.matnet.latents import variables
from exflow.models.matnet.networks.layers import Mode
from exflow.models.matnet.networks.matnet import MatNet
from exflow.models.matnet.observation import masks
from exflow.typing import Params, PRNGKey


def fit_fill(likelihood: Likelihood, params: Params, images: Iterable[UInt8[np.ndarray, "num h w c"]]) -> Params:
    """Fill hidden pixels with the mean of each over the training images, as published; no other split is read.

    Args:
      likelihood: Of whole images, whose values rise linearly with pixels, on average where they are drawn.
      params: Of a conditional network.
      images: All of training, some at a time.
    """
    total, number = 0.0, 0
    for some in images:
        total, number = total + some.sum(axis=0, dtype=np.float64), number + len(some)
    share = jnp.asarray(total / (255.0 * number), jnp.float32)
    low, high = (likelihood.to_values(None, jnp.full(share.shape, pixel, jnp.uint8)) for pixel in (0, 255))
    statistics = params["statistics"]
    observed = {**statistics["observed"], "train_mean": low + (high - low) * share}
    return {**params, "statistics": {**statistics, "observed": observed}}


def imputation(
    network: MatNet, likelihood: Likelihood, latents: LatentFunctions, options: ConfigDict, image_shape: tuple
) -> Imputation:
    """The capability of a conditional network.

    Args:
      network: The network.
      likelihood: Of whole images.
      latents: Of the network, by the law of hidden pixels.
      options: Section `model.matnet`.
      image_shape: Height, width and channels.
    """
    draw_mask, description = masks(options)

    def sample(
        params: Params,
        key: PRNGKey,
        x: UInt8[Array, "num height width channels"],
        observed: Bool[Array, "num height width 1"],
        num_samples: int,
    ) -> UInt8[Array, "samples num height width channels"]:
        known = likelihood.to_values(None, jnp.where(observed, x, 0))
        values = beside(jnp.where(observed, known, 0.0), observed)
        features = network.apply(variables(params), values, Mode(), method=MatNet.encode_observed)
        seeds = content_seeds(values)
        elements = jax.tree.map(lambda leaf: leaf[:, None], EncodedElement(features, values, seeds))
        mask = jnp.ones((len(values), 1), bool)

        def one(key: PRNGKey) -> Array:
            latent_key, pixel_key = jax.random.split(key)
            outputs = latents.infer(params, elements, mask, latent_key)[1][:, 0]
            if options.sample_means:
                return likelihood.to_pixels(likelihood.mean(outputs))
            keys = jax.vmap(jax.random.fold_in, (None, 0))(pixel_key, seeds)
            return likelihood.to_pixels(jax.vmap(likelihood.sample)(keys, outputs))

        drawn = jax.lax.map(one, jax.random.split(key, num_samples), batch_size=min(num_samples, DRAWS_AT_ONCE))
        return jnp.where(observed, x, drawn)

    return Imputation(description, lambda key, number: draw_mask(key, (number, *image_shape)), sample)

"""What Matryoshka networks are trained on, see `training_loss`, and the phases of a step."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from exflow.core.latents.terms import Terms, elbo, terms
from exflow.core.latents.trace import Noise
from exflow.core.likelihoods.likelihood import Likelihood
from exflow.core.quantization import bits_per_dim
from exflow.models.matnet.latents import as_trace, draw_flat, variables
from exflow.models.matnet.networks.layers import Mode
from exflow.models.matnet.networks.matnet import MatNet
from exflow.typing import Batch, Loss, Params, PRNGKey


def training_loss(
    network: MatNet, likelihood: Likelihood, objective: ConfigDict, image_shape: tuple[int, int, int]
) -> Callable[[Params, PRNGKey, Batch], Loss]:
    """Build the loss from section `objective` of the configuration.

    Its metrics are `nelbo` and its parts `reconstruction` and `kl_z`, nats per image, and of pixels `bits_per_dim`.
    """

    def loss(params: Params, key: PRNGKey, batch: Batch) -> Loss:
        value_key, latent_key, noise_key = jax.random.split(key, 3)
        x_set, mask = (jnp.repeat(a, objective.repeats, axis=0) for a in (batch.x_set, batch.mask))
        values = likelihood.to_values(value_key, x_set)
        values = jnp.where(mask[..., None, None, None], values, 0.0)  # what is missing may be NaN, also in gradients
        flat, mode = values.reshape(-1, *image_shape), Mode(True, mask.reshape(-1))
        found, updated = network.apply(
            variables(params),
            flat,
            draw_flat(Noise(latent_key), mask.shape),
            mode,
            rngs={"noise": noise_key},
            mutable=["batch_stats"],
        )
        trace, outputs = as_trace(*found, mask.shape)
        parts = terms(trace, likelihood.log_prob(outputs, values), mask)
        per_image = Terms(*(part.sum(axis=-1) / mask.sum() for part in parts))
        nelbo = -elbo(Terms(*(part[..., None] for part in per_image)))[0]
        metrics = {
            "nelbo": nelbo,
            **({"bits_per_dim": bits_per_dim(nelbo, math.prod(image_shape))} if likelihood.discrete else {}),
            "reconstruction": -per_image.log_prob,
            "kl_z": per_image.kl_examples.sum(),
        }
        return Loss(nelbo, metrics, dict(updated).get("batch_stats", {}))

    return loss

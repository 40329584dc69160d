"""What set VAEs are trained on: the evidence lower bound per image, perhaps weighted or with free bits."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from exflow.core.latents import bounds
from exflow.core.latents.terms import Terms, elbo, terms
from exflow.core.latents.trace import Noise
from exflow.core.likelihoods.likelihood import Likelihood
from exflow.core.quantization import bits_per_dim
from exflow.models.set_vae.latents import variables
from exflow.models.set_vae.networks.autoencoder import SetAutoencoder
from exflow.typing import Batch, Loss, Params, PRNGKey


def training_loss(
    networks: SetAutoencoder, likelihood: Likelihood, objective: ConfigDict, image_shape: tuple[int, int, int]
) -> Callable[[Params, PRNGKey, Batch], Loss]:
    """Build the loss from section `objective` of the configuration.

    Its metrics are `nelbo` and its parts `reconstruction`, `kl_z` (latents of elements) and `kl_c` (of sets), nats per
    image, and of pixels `bits_per_dim`.
    """

    def loss(params: Params, key: PRNGKey, batch: Batch) -> Loss:
        value_key, noise_key = jax.random.split(key)
        values, mask = likelihood.to_values(value_key, batch.x_set), batch.mask
        values = jnp.where(mask[..., None, None, None], values, 0.0)  # what is missing may be NaN, also in gradients
        (trace, outputs), updated = networks.apply(
            variables(params), values, mask, Noise(noise_key), True, mutable=["batch_stats"]
        )
        parts = terms(trace, likelihood.log_prob(outputs, values), mask)
        per_image = Terms(*(part.sum(axis=-1) / mask.sum() for part in parts))
        step = 0 if batch.step is None else batch.step
        weight = bounds.loss_weight(objective.alpha, objective.alpha_decay, step // objective.epoch_steps)
        kl_z, kl_c = (
            bounds.free_bits(kl, objective.free_bits).sum() if objective.free_bits else kl.sum()
            for kl in (per_image.kl_examples, per_image.kl_set)
        )
        nelbo = -elbo(Terms(*(part[..., None] for part in per_image)))[0]
        metrics = {
            "nelbo": nelbo,
            **({"bits_per_dim": bits_per_dim(nelbo, math.prod(image_shape))} if likelihood.name != "gaussian" else {}),
            "reconstruction": -per_image.log_prob,
            "kl_z": per_image.kl_examples.sum(),
            "kl_c": per_image.kl_set.sum(),
        }
        value = -bounds.weighted_elbo(per_image.log_prob, kl_z, kl_c, weight)
        return Loss(value, metrics, dict(updated).get("batch_stats", {}))

    return loss

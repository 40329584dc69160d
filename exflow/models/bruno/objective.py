"""What BRUNO is trained on: the negative log-likelihood per image, perhaps with the cross-entropy of episodes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from exflow.core.process import Process
from exflow.core.quantization import bits_per_dim
from exflow.models.bruno.few_shot_objective import few_shot_cross_entropy
from exflow.models.bruno.image_flow import FlowElement, ImageFlow
from exflow.typing import Batch, Loss, Params, PRNGKey


def training_loss(
    process: Process, flow: ImageFlow, objective: ConfigDict, learn_mean: bool
) -> Callable[[Params, PRNGKey, Batch], Loss]:
    """Build the loss from section `objective` of the configuration.

    It is generative_weight times the negative log-likelihood in nats per image (`scored_log_probs` tells which images
    count and what they are given), plus discriminative_weight times the cross-entropy of few-shot episodes formed from
    the latents of the same batch, averaged over `objective.shots`.

    Args:
      process: Of latent vectors.
      flow: Of images.
      objective: The section.
      learn_mean: Whether the mean of the process is trained.
    """

    def learned(raw: Params) -> Params:
        """Raw parameters of the process with the mean taken out of training where it is a constant."""
        return raw if learn_mean else {**raw, "mean": jax.lax.stop_gradient(raw["mean"])}

    def loss(params: Params, key: PRNGKey, batch: Batch) -> Loss:
        noise_key, query_key = jax.random.split(key)
        elements = flow.encode(params["flow"], noise_key, batch.x_set, batch.context)
        process_params = process.constrain(learned(params["process"]))
        log_probs, counted = scored_log_probs(process, process_params, elements, batch.mask, objective.num_given)
        nll = -jnp.where(counted, log_probs, 0.0).sum() / counted.sum()
        total = objective.generative_weight * nll
        metrics = {"nll": nll, "bits_per_dim": bits_per_dim(nll, flow.dim)}
        if objective.discriminative_weight > 0:
            temperature = objective.temperature
            if objective.learn_temperature:
                temperature = jnp.exp(params["objective"]["log_temperature"])
                metrics["temperature"] = temperature
            cross_entropy, few_shot = few_shot_cross_entropy(
                process, process_params, query_key, elements.z, batch.mask, objective, temperature
            )
            total = total + objective.discriminative_weight * cross_entropy
            metrics |= few_shot
        return Loss(total, metrics)

    return loss


def scored_log_probs(
    process: Process,
    process_params: Params,
    elements: FlowElement,
    mask: Bool[Array, "batch set"],
    num_given: int,
) -> tuple[Float[Array, "batch scored"], Bool[Array, "batch scored"]]:
    """Log-densities of the images that count, in nats.

    Args:
      process: Of latent vectors.
      process_params: Its parameters.
      elements: Sets of images, leading axes [batch, set].
      mask: True for images that exist.
      num_given: 0: log p(x_n | x_<n) of every image. k: the first k images are given, and every other image counts
        with its density given those k alone (the objective of Conditional BRUNO, k = 1).

    Returns:
      Log-densities, and which of them are of images that exist.
    """
    if num_given == 0:
        return process.log_prob(process_params, elements.z, mask) + elements.log_det, mask
    empty = process.init_state(process_params, mask.shape[:1])
    state = process.update_set(process_params, empty, elements.z[:, :num_given], mask[:, :num_given])
    state = jax.tree.map(lambda leaf: leaf[:, None], state)
    log_probs = process.predictive_log_prob(process_params, state, elements.z[:, num_given:])
    return log_probs + elements.log_det[:, num_given:], mask[:, num_given:]

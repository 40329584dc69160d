"""Discriminative few-shot objective: cross-entropy over episodes made of the latents of one training batch.

The sets of a batch are the classes of an episode: the first k elements of every set are its support, all others are
queries against every class. Encoding dominates the cost of a step, so this term is almost free; BRUNO's published
fine-tuning (Korshunova et al. 2018, section 4.3) pushes a separate 20-way 1-shot episode through the flow instead.
"""

from types import ModuleType

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from exflow.typing import Params


def few_shot_cross_entropy(
    process: ModuleType,
    process_params: Params,
    z_set: Float[Array, "class set dim"],
    mask: Bool[Array, "class set"],
    objective: ConfigDict,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Mean cross-entropy of log softmax_k log p(z | support of class k), averaged over the numbers of shots.

    The Jacobian of the flow is common to all classes and cancels.

    Args:
      process: `exflow.core.gaussian_process` or `student_t_process`.
      process_params: Its parameters.
      z_set: Latents, one set per class; the classes must differ.
      mask: True for elements that exist; a missing query does not count and a missing support is not absorbed.
      objective: Section `objective`: `shots`, `temperature` (divides the log-probabilities) and `label_smoothing`.

    Returns:
      Cross-entropy in nats, and per number of shots `cross_entropy_<k>shot` and `accuracy_<k>shot` in [0, 1].
    """
    num_classes, set_size, dim = z_set.shape
    total, metrics = jnp.zeros(()), {}
    for shot in objective.shots:
        empty = process.init_state(process_params, (num_classes,))
        states = process.update_set(process_params, empty, z_set[:, :shot], mask[:, :shot])
        queries = z_set[:, shot:].reshape(-1, dim)
        logits = process.class_log_probs(process_params, states, queries) / objective.temperature
        log_posterior = jax.nn.log_softmax(logits, axis=-1)
        target = jnp.repeat(jnp.arange(num_classes), set_size - shot)
        one_hot = jax.nn.one_hot(target, num_classes)
        smooth = objective.label_smoothing
        weight = (1 - smooth) * one_hot + jnp.full_like(one_hot, smooth / num_classes)
        counted = mask[:, shot:].reshape(-1)
        num_queries = jnp.maximum(counted.sum(), 1)
        cross_entropy = -jnp.where(counted, (weight * log_posterior).sum(-1), 0.0).sum() / num_queries
        correct = jnp.argmax(logits, axis=-1) == target
        metrics[f"cross_entropy_{shot}shot"] = cross_entropy
        metrics[f"accuracy_{shot}shot"] = jnp.where(counted, correct, False).sum() / num_queries
        total = total + cross_entropy / len(objective.shots)
    return total, metrics

"""Discriminative few-shot objective: cross-entropy over episodes made of the latents of one training batch.

The sets of a batch are the classes of an episode. A window of k consecutive elements (cyclically) of every set is its
support, all elements outside the window are queries against every class; every window gives an episode. Encoding
dominates the cost of a step, so this term is almost free; BRUNO's published fine-tuning (Korshunova et al. 2018) pushes
separate 20-way 1-shot episodes through the flow instead.
"""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from exflow.typing import Params


def few_shot_cross_entropy(
    process: ModuleType,
    process_params: Params,
    z_set: Float[Array, "class set dim"],
    mask: Bool[Array, "class set"],
    objective: ConfigDict,
    temperature: Float[Array, ""] | float,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Mean cross-entropy of log softmax_k log p(z | support of class k), averaged over the numbers of shots.

    The Jacobian of the flow is common to all classes and cancels.

    Args:
      process: `exflow.core.gaussian_process` or `student_t_process`.
      process_params: Its parameters.
      z_set: Latents, one set per class; the classes must differ.
      mask: True for elements that exist; a missing query does not count and a missing support is not absorbed.
      objective: Section `objective`: `shots`, `supports_per_set` (windows used, 0 for all) and `label_smoothing`.
      temperature: Divides the log-probabilities. A flow of many dimensions is overconfident; evaluation, which compares
        classes of equally many shots, does not depend on it.

    Returns:
      Cross-entropy in nats, and per number of shots `cross_entropy_<k>shot` and `accuracy_<k>shot` in [0, 1].
    """
    num_classes, set_size, dim = z_set.shape
    num_windows = objective.supports_per_set or set_size
    queries = jnp.broadcast_to(z_set.reshape(1, -1, dim), (num_windows, num_classes * set_size, dim))
    target = jnp.repeat(jnp.arange(num_classes), set_size)
    smooth = objective.label_smoothing
    weight = jax.nn.one_hot(target, num_classes) * (1 - smooth) + smooth / num_classes
    total, metrics = jnp.zeros(()), {}
    for shot in objective.shots:
        positions = (np.arange(shot)[None] + np.arange(num_windows)[:, None]) % set_size  # [window, shot]
        empty = process.init_state(process_params, (num_classes, num_windows))
        states = process.update_set(process_params, empty, z_set[:, positions], mask[:, positions])
        states = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), states)
        logits = process.class_log_probs(process_params, states, queries) / temperature
        log_posterior = jax.nn.log_softmax(logits, axis=-1)  # [window, query, class]
        outside = np.ones((num_windows, set_size), bool)
        outside[np.arange(num_windows)[:, None], positions] = False
        counted = (mask[None] & outside[:, None]).reshape(num_windows, -1)
        num_queries = jnp.maximum(counted.sum(), 1)
        losses = -(weight[None] * log_posterior).sum(axis=-1)
        cross_entropy = jnp.where(counted, losses, 0.0).sum() / num_queries
        correct = jnp.argmax(logits, axis=-1) == target[None]
        metrics[f"cross_entropy_{shot}shot"] = cross_entropy
        metrics[f"accuracy_{shot}shot"] = (correct & counted).sum() / num_queries
        total = total + cross_entropy / len(objective.shots)
    return total, metrics

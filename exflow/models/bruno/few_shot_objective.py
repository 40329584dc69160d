"""Discriminative few-shot objective: cross-entropy over episodes made of the latents of one training batch.

The sets of a batch are the classes of one episode, or of several that share no class. A window of k consecutive
elements (cyclically) of every set is its support, all elements outside the window are queries against every class of
the episode; every window gives an episode. Encoding dominates the cost of a step, so this term is almost free. BRUNO's
published fine-tuning (Korshunova et al. 2018, section 4.3) is the case of 20 classes, one window, one shot and one
query of a random class per episode, every image of which passes through the flow for this query alone.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from exflow.core.process import Process
from exflow.typing import Params, PRNGKey


def few_shot_cross_entropy(
    process: Process,
    process_params: Params,
    key: PRNGKey,
    z_set: Float[Array, "class set dim"],
    mask: Bool[Array, "class set"],
    objective: ConfigDict,
    temperature: Float[Array, ""] | float,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Mean cross-entropy of log softmax_k log p(z | support of class k), averaged over ways and shots.

    The Jacobian of the flow is common to all classes and cancels.

    Args:
      process: Of latent vectors.
      process_params: Its parameters.
      key: Of the choice of queries, where not all of them count.
      z_set: Latents, one set per class; the classes must differ.
      mask: True for elements that exist; a missing query does not count and a missing support is not absorbed.
      objective: Section `objective`: `ways` (0: all classes form one episode; k: consecutive groups of k classes,
        which must divide their number), `shots`, `supports_per_set` (windows used, 0 for all),
        `queries_per_episode` (drawn uniformly, 0 for all) and `label_smoothing`.
      temperature: Divides the log-probabilities. A flow of many dimensions is overconfident; evaluation, which compares
        classes of equally many shots, does not depend on it.

    Returns:
      Cross-entropy in nats, and per number of shots `cross_entropy_<k>shot` and `accuracy_<k>shot` in [0, 1], of the
      first entry of `ways`.
    """
    num_classes, set_size, dim = z_set.shape
    num_windows = objective.supports_per_set or set_size
    total, metrics = jnp.zeros(()), {}
    ways = [way or num_classes for way in objective.ways]
    for shot in objective.shots:
        positions = (np.arange(shot)[None] + np.arange(num_windows)[:, None]) % set_size  # [window, shot]
        empty = process.init_state(process_params, (num_classes, num_windows))
        states = process.update_set(process_params, empty, z_set[:, positions], mask[:, positions])
        outside = np.ones((num_windows, set_size), bool)
        outside[np.arange(num_windows)[:, None], positions] = False
        counted = mask[:, None] & outside[None]  # [class, window, element]
        for number, way in enumerate(ways):
            num_episodes = num_classes // way

            def episodes(leaf: Array, way: int = way, num_episodes: int = num_episodes) -> Array:
                """[class, window, ...] -> [episode, window, class, ...]."""
                return leaf.reshape(num_episodes, way, *leaf.shape[1:]).swapaxes(1, 2)

            grouped = jax.tree.map(episodes, states)
            queries = z_set.reshape(num_episodes, 1, way * set_size, dim)
            queries = jnp.broadcast_to(queries, (num_episodes, num_windows, way * set_size, dim))
            logits = process.class_log_probs(process_params, grouped, queries) / temperature
            log_posterior = jax.nn.log_softmax(logits, axis=-1)  # [episode, window, query, class]
            target = jnp.repeat(jnp.arange(way), set_size)
            smooth = objective.label_smoothing
            weight = jax.nn.one_hot(target, way) * (1 - smooth) + smooth / way
            chosen = episodes(counted).reshape(num_episodes, num_windows, way * set_size)
            if objective.queries_per_episode:
                chosen = random_subset(jax.random.fold_in(key, shot), chosen, objective.queries_per_episode)
            num_queries = jnp.maximum(chosen.sum(), 1)
            losses = -(weight[None, None] * log_posterior).sum(axis=-1)
            cross_entropy = jnp.where(chosen, losses, 0.0).sum() / num_queries
            total = total + cross_entropy / (len(objective.shots) * len(ways))
            if number == 0:
                correct = jnp.argmax(logits, axis=-1) == target[None, None]
                metrics[f"cross_entropy_{shot}shot"] = cross_entropy
                metrics[f"accuracy_{shot}shot"] = (correct & chosen).sum() / num_queries
    return total, metrics


def random_subset(key: PRNGKey, allowed: Bool[Array, "*lead num"], number: int) -> Bool[Array, "*lead num"]:
    """Choose `number` of the allowed entries of the last axis, uniformly without replacement (all, if fewer)."""
    scores = jnp.where(allowed, jax.random.uniform(key, allowed.shape), -1.0)
    smallest = jax.lax.top_k(scores, min(number, allowed.shape[-1]))[0][..., -1:]
    return allowed & (scores >= smallest)

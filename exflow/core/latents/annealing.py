"""Training objectives of hierarchies whose divergences count little at first, so that all levels come into use.

With lambda rising from a start to 1, divergences KL_i of the latents, or KL_{i,d} of their entries, and the mean over
images, the loss is

    -log p(x | latents) + lambda sum_i KL_i + (1 - lambda) sum_i sum_d KL_{i,d}^2     (squares)
    -log p(x | latents) + lambda sum_i KL_i                                            (plain)

The squares hardly weigh on entries that tell little, and keep those that tell much from telling more; plainly annealed
divergences begin as an autoencoder. At lambda = 1 both are the negative evidence lower bound.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from exflow.core.latents.bounds import Scalar, free_bits
from exflow.core.latents.terms import Terms, squared_divergences, terms
from exflow.core.latents.trace import TopDown


def rising_weight(start: Scalar, num_steps: Scalar, step: Scalar) -> Float[Array, ""]:
    """Lambda after `step` steps: linear from `start` to 1 over `num_steps` steps, then 1; without steps always 1.

    Args:
      start: At step 0, in [0, 1].
      num_steps: At least 0.
      step: At least 0.
    """
    done = jnp.minimum(jnp.asarray(step, float) / jnp.maximum(num_steps, 1), 1.0)
    return jnp.where(jnp.asarray(num_steps) > 0, start + (1.0 - start) * done, 1.0)


def annealed_loss(
    trace: TopDown,
    log_probs: Float[Array, "batch set"],
    mask: Bool[Array, "batch set"],
    weight: Scalar = 1.0,
    squares: bool = False,
    nats: float = 0.0,
) -> tuple[Float[Array, ""], Terms]:
    """The loss per image.

    A penalty c sum |parameter|^2 has the gradient of `optimizer.l2` = 2 c, per group of parameters.

    Args:
      trace: Latents drawn from the posteriors.
      log_probs: log p(x_s | latents) of every element.
      mask: Which elements exist; at least one.
      weight: Lambda, in [0, 1].
      squares: Whether the squares of the divergences make up for what lambda takes away.
      nats: Free bits of every level, per image; see `free_bits`. They spare the divergences, not the squares.

    Returns:
      The loss; sums over elements of the evidence lower bound divided by the number of images, all levels kept.
    """
    number = mask.sum()
    per_image = Terms(*(part.sum(axis=-1, keepdims=True) / number for part in terms(trace, log_probs, mask)))
    kl = jnp.concatenate([per_image.kl_examples, per_image.kl_set])[:, 0]
    value = weight * (free_bits(kl, nats) if nats else kl).sum() - per_image.log_prob[0]
    if squares:
        of_entries = jnp.concatenate(squared_divergences(trace, mask)).sum() / number
        value = value + (1.0 - weight) * of_entries
    return value, per_image

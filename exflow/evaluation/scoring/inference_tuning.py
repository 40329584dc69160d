"""Fine-tune the inference network of a model on the very images whose bound is measured, its generator held fixed.

Any inference network gives a lower bound on the log evidence under the generator, so that the bound stays one and
becomes tighter; but it is no longer that of a network which has not seen the images. The published evaluation of deep
latent Gaussian models does so by default, for 199 epochs of batches of 100 images.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from jaxtyping import Array, ArrayLike, Bool, Float

from exflow.errors import UserError
from exflow.evaluation import placement
from exflow.model import LatentFunctions, Model, latents_of
from exflow.models import latent_bounds
from exflow.typing import Params, PRNGKey

INFERENCE = "inference"  # group of the parameters that only the posteriors depend on
BATCH_IMAGES = 100
# The rate as a fraction of its highest value from fractions of the epochs on; published: 1e-5 in the first 25 of 199
# epochs, then 3e-5, halved at 75 and at 150
RATES = ((0.0, 1 / 3), (25 / 199, 1.0), (75 / 199, 0.5), (150 / 199, 0.25))


class Tuning(NamedTuple):
    """How to fine-tune."""

    epochs: int
    learning_rate: float  # the highest, see `RATES`
    b1: float
    b2: float
    epsilon: float  # of Adam
    l2: float  # times the parameter, added to the gradient
    clip_norm: float  # of the gradient; 0: none


def rate_schedule(learning_rate: float, num_steps: int) -> Callable[[ArrayLike], Array]:
    """Learning rate of each of `num_steps` steps, see `RATES`."""

    def rate(step: ArrayLike) -> Array:
        factor = jnp.zeros(())
        for start, fraction in RATES:
            factor = jnp.where(jnp.asarray(step) >= start * num_steps, fraction, factor)
        return learning_rate * factor

    return rate


def tuned(
    model: Model,
    params: Params,
    values: Float[np.ndarray, "sets set h w c"],
    mask: Bool[np.ndarray, "sets set"],
    key: PRNGKey,
    tuning: Tuning,
    say: Callable[[str], None] = lambda line: None,
) -> Params:
    """Parameters whose group "inference" has been trained on sets by the evidence lower bound of one draw.

    The networks are used as they are evaluated: running averages stay as they are.

    Args:
      model: With latents.
      params: Trained parameters; they stay as they are.
      values: What the likelihood scores. Each epoch sees every set once, in an order of its own; the last batch is
        filled up with the first sets.
      mask: Which elements exist.
      key: Of the draws and of the orders.
      tuning: How.
      say: Called with a line now and then.

    Returns:
      New parameters on all local devices; those of other groups are those given.

    Raises:
      UserError: No parameters are in the group, or those that are change what the model generates.
    """
    latents, params = latents_of(model), placement.replicate(params)
    moving = {name: part for name, part in params.items() if model.group_of(name) == INFERENCE}
    if not moving:
        raise UserError(
            f"config.evaluation.finetune_epochs: {model.name} has no parameters in a group {INFERENCE!r} that could be "
            "fine-tuned. Set it to 0."
        )
    rows_per_batch = placement.round_up(max(1, BATCH_IMAGES // values.shape[1]), placement.local_mesh().size)
    per_epoch = -(-len(values) // rows_per_batch)
    clip = [optax.clip_by_global_norm(tuning.clip_norm)] if tuning.clip_norm else []
    optimizer = optax.chain(
        *clip,
        optax.add_decayed_weights(tuning.l2),
        optax.scale_by_adam(tuning.b1, tuning.b2, tuning.epsilon),
        optax.scale_by_learning_rate(rate_schedule(tuning.learning_rate, per_epoch * tuning.epochs)),
    )

    @jax.jit
    def step(
        moving: Params, state: optax.OptState, params: Params, key: PRNGKey, values: Array, mask: Array
    ) -> tuple[Params, optax.OptState, Array]:
        def loss(moving: Params) -> Array:
            everything = {**params, **moving}
            elements = latents.encode_values(everything, values)
            found = latent_bounds.elbo_terms(latents, everything, key, elements, mask)
            return (found.kl_examples.sum() + found.kl_set.sum() - found.log_prob.sum()) / mask.sum()

        value, gradient = jax.value_and_grad(loss)(moving)
        updates, state = optimizer.update(gradient, state, moving)
        return optax.apply_updates(moving, updates), state, value  # pyright: ignore[reportReturnType]

    split = NamedSharding(placement.local_mesh(), placement.DATA)
    seed = int(jax.random.randint(key, (), 0, np.iinfo(np.int32).max))
    state, orders = placement.replicate(jax.jit(optimizer.init)(moving)), np.random.default_rng(seed)
    for epoch in range(tuning.epochs):
        order, total = orders.permutation(len(values)), []
        for number in range(per_epoch):
            rows = np.take(order, np.arange(number * rows_per_batch, (number + 1) * rows_per_batch), mode="wrap")
            batch = jax.device_put((values[rows], mask[rows]), split)
            step_key = jax.random.fold_in(key, epoch * per_epoch + number)
            moving, state, value = step(moving, state, params, step_key, *batch)
            total.append(value)
        if epoch in (0, tuning.epochs - 1):
            _check_same_generator(latents, params, {**params, **moving})
        if (epoch + 1) % max(1, tuning.epochs // 10) == 0:
            say(f"epoch {epoch + 1} of {tuning.epochs}: bound of 1 draw {np.mean(jax.device_get(total)):.2f} nats")
    return {**params, **moving}


def _check_same_generator(latents: LatentFunctions, before: Params, after: Params) -> None:
    """Refuse parameters under which the model generates something else, so that bounds would be of another model."""

    def generated(params: Params) -> list[np.ndarray]:
        drawn = jax.jit(lambda params: latents.generate(params, jax.random.key(0), (2, 1)))(params)
        return [np.asarray(leaf) for leaf in jax.tree.leaves(drawn)]

    if not all(map(np.array_equal, generated(before), generated(after))):
        raise UserError(
            f"config.evaluation.finetune_epochs: parameters of group {INFERENCE!r} change what the model generates, so "
            "that fine-tuned bounds would be of another model. Set it to 0, or keep such parameters in another group."
        )

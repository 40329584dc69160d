"""Optimizers with the original's semantics, learning rate schedules and a learning rate of its own for the process.

The original scales the *gradient* of the process parameters; under RMSProp and Adam a constant factor cancels, so that
only its freeze at the start has an effect. exflow scales the *update*, which is a real learning rate, and freezes by
zeroing the gradient, as the original does (the squared-gradient average keeps decaying meanwhile).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array
from ml_collections import ConfigDict

from exflow.errors import UserError
from exflow.typing import Params

Schedule = Callable[[Any], Array]


class AdamState(NamedTuple):
    """State of `scale_by_adam_epsilon_hat`."""

    count: Array  # int32 []
    mean: Params  # average of the gradient
    square: Params  # average of the squared gradient


def learning_rate_schedule(config: ConfigDict, num_steps: int) -> Schedule:
    """Learning rate as a function of the number of updates already made.

    rate(t) = learning_rate * shape(t) * min(1, (t + 1) / warmup_steps) * (boost if t >= boost_step else 1), with
    shape(t) = 1, decay_rate^(t + 1) or (1 + cos(pi t / num_steps)) / 2. Update t is the original's iteration t + 1
    (its iteration 0 only initialises), so "times 1.5 from iteration 100" is boost 1.5 at boost_step 99.

    Args:
      config: Section `optimizer`.
      num_steps: Length of training in steps, used by "cosine".

    Returns:
      Function from an integer count to a float scalar.

    Raises:
      UserError: Unknown schedule.
    """
    if config.schedule not in ("constant", "exponential", "cosine"):
        raise UserError(
            f"config.optimizer.schedule: expected 'constant', 'exponential' or 'cosine', got {config.schedule!r}."
        )
    log_decay = math.log(config.decay_rate) if config.schedule == "exponential" else 0.0

    def schedule(count: Any) -> Array:
        t = jnp.asarray(count, float)
        rate = jnp.asarray(config.learning_rate, float)
        if config.schedule == "exponential":
            rate = rate * jnp.exp((t + 1) * log_decay)  # a float32 power of 0.999995 is off by 0.6 % after 200,000
        if config.schedule == "cosine":
            rate = rate * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(t / max(num_steps, 1), 1.0)))
        if config.warmup_steps > 0:
            rate = rate * jnp.minimum(1.0, (t + 1) / config.warmup_steps)
        if config.boost != 1.0:
            rate = jnp.where(t >= config.boost_step, rate * config.boost, rate)
        return rate

    return schedule


def scale_by_adam_epsilon_hat(b1: float, b2: float, epsilon: float = 1e-8) -> optax.GradientTransformation:
    """Adam with epsilon added to the square root of the *uncorrected* second moment, as TensorFlow 1 does.

    update = sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon); optax adds epsilon after the correction, which is a
    1 / sqrt(1 - b2^t) times larger epsilon in the first updates.
    """

    def init(params: Params) -> AdamState:
        return AdamState(jnp.zeros((), jnp.int32), optax.tree.zeros_like(params), optax.tree.zeros_like(params))

    def update(updates: Params, state: Any, params: Params = None) -> tuple[Params, Any]:
        del params
        count = state.count + 1
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mean, updates)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.square, updates)
        t = count.astype(float)
        correction = jnp.sqrt(_one_minus_power(b2, t)) / _one_minus_power(b1, t)
        scaled = jax.tree.map(lambda m, v: correction.astype(m.dtype) * m / (jnp.sqrt(v) + epsilon), mean, square)
        return scaled, AdamState(count, mean, square)

    return optax.GradientTransformation(init, update)


def _one_minus_power(base: float, t: Array) -> Array:
    """1 - base^t for t >= 1, without cancellation."""
    return -jnp.expm1(t * math.log(base)) if base else jnp.ones_like(t)


def zero_until(num_updates: int) -> optax.GradientTransformation:
    """Replace the first `num_updates` gradients by zero."""

    def init(params: Params) -> Array:
        del params
        return jnp.zeros((), jnp.int32)

    def update(updates: Params, state: Any, params: Params = None) -> tuple[Params, Any]:
        del params
        frozen = state < num_updates  # `state` counts the updates
        return jax.tree.map(lambda g: jnp.where(frozen, jnp.zeros_like(g), g), updates), state + 1

    return optax.GradientTransformation(init, update)


def _preconditioner(config: ConfigDict) -> optax.GradientTransformation:
    if config.name == "rmsprop":
        return optax.scale_by_rms(decay=0.9, eps=1e-10, initial_scale=1.0, eps_in_sqrt=True)
    if config.name == "adam":
        return scale_by_adam_epsilon_hat(config.b1, config.b2)
    raise UserError(f"config.optimizer.name: expected 'rmsprop' or 'adam', got {config.name!r}.")


def make_optimizer(config: ConfigDict, num_steps: int) -> tuple[optax.GradientTransformation, Schedule]:
    """Build the optimizer for parameters whose top level may hold a group "process", and "objective", treated alike.

    A group "statistics" is left alone. Order: clip every entry, then the global norm; add the gradient of the L2
    penalty (not of the process); zero the process gradients while frozen; RMSProp or Adam; decoupled weight decay
    (not on the process, nor on parameters called "frozen_...", which get no gradient either); times the learning rate,
    for the process times its `learning_rate_multiplier` as well.

    Args:
      config: Section `optimizer`; see the module's description for the process group.
      num_steps: Length of training in steps, for the cosine schedule.

    Returns:
      The transformation of gradients into parameter updates, and the learning rate after a number of updates.

    Raises:
      UserError: Unknown optimizer or schedule.
    """
    schedule = learning_rate_schedule(config, num_steps)
    rate = optax.scale_by_schedule(lambda count: -schedule(count))
    flow = [optax.add_decayed_weights(config.l2)] if config.l2 > 0 else []
    flow.append(_preconditioner(config))
    if config.weight_decay > 0:
        flow.append(optax.add_decayed_weights(config.weight_decay, mask=_not_frozen))
    group = config.groups.get("process", {})
    process = [
        zero_until(group.get("freeze_steps", 0)),
        _preconditioner(config),
        optax.scale(group.get("learning_rate_multiplier", 1.0)),
    ]
    groups = optax.multi_transform(
        {"flow": optax.chain(*flow, rate), "process": optax.chain(*process, rate), "statistics": optax.set_to_zero()},
        _group_labels,
    )
    clip = [optax.clip(config.clip_value)] if config.clip_value > 0 else []
    if config.clip_norm > 0:
        clip.append(optax.clip_by_global_norm(config.clip_norm))
    return optax.chain(*clip, groups), schedule


def _not_frozen(params: Params) -> Any:
    """Which parameters change in training, by the name of the leaf."""

    def trained(path: tuple[Any, ...], _: Any) -> bool:
        return not str(getattr(path[-1], "key", "")).startswith("frozen_") if path else True

    return jax.tree.map_with_path(trained, params)


def _group_labels(params: Params) -> Any:
    if not isinstance(params, dict):
        return "flow"
    groups = {"process": "process", "objective": "process", "statistics": "statistics"}
    return {name: groups.get(name, "flow") for name in params}

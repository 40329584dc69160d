"""Optimizers with the semantics of TensorFlow 1, learning rate schedules, and options of each group of parameters.

The multiplier of a group scales its *update*, which is a real learning rate. (The original BRUNO scales the gradient of
its process; under RMSProp and Adam a constant factor cancels.) A freeze zeroes the gradient, as the original does: the
averages of the optimizer keep decaying meanwhile.
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
from exflow.training.groups import MAIN, GroupOf, by_group
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


def make_optimizer(
    config: ConfigDict, num_steps: int, group_of: GroupOf
) -> tuple[optax.GradientTransformation, Schedule]:
    """Build the optimizer of all groups of a model's parameters.

    Order: clip every entry, then the global norm, of all gradients given; the same with the limits of the group; add
    the gradient of the L2 penalty; zero all that while the group is frozen; RMSProp or Adam; decoupled weight decay
    (not while the group is frozen, nor on parameters called "frozen_...", which get no gradient either); times the
    multiplier of the group and the learning rate. `config.l2` and `config.weight_decay` are those of group "main",
    other groups have their own.

    Args:
      config: Section `optimizer`. `groups.<group>` holds the options of a group; a group without has no options.
      num_steps: Length of training in steps, for the cosine schedule.
      group_of: Name of a top-level parameter -> its group.

    Returns:
      The transformation of gradients into parameter updates, and the learning rate after a number of updates.

    Raises:
      UserError: Unknown optimizer or schedule.
    """
    schedule = learning_rate_schedule(config, num_steps)
    adaptive = _preconditioner(config)
    rate = optax.scale_by_schedule(lambda count: -schedule(count))

    def optimizer_of(group: str) -> optax.GradientTransformation:
        options = config.groups.get(group)
        decay = config if group == MAIN else options
        l2 = [optax.add_decayed_weights(decay.l2)] if decay is not None and decay.l2 > 0 else []
        decoupled = []
        if decay is not None and decay.weight_decay > 0:
            decoupled.append(optax.add_decayed_weights(decay.weight_decay, mask=_not_frozen))
        if options is None:
            return optax.chain(*l2, adaptive, *decoupled, rate)
        freeze, multiplier = zero_until(options.freeze_steps), optax.scale(options.learning_rate_multiplier)
        decoupled += [freeze] if decoupled else []
        return optax.chain(*_clipping(options), *l2, freeze, adaptive, *decoupled, multiplier, rate)

    return optax.chain(*_clipping(config), by_group(optimizer_of, group_of)), schedule


def _clipping(limits: ConfigDict) -> list[optax.GradientTransformation]:
    clip = [optax.clip(limits.clip_value)] if limits.clip_value > 0 else []
    return [*clip, optax.clip_by_global_norm(limits.clip_norm)] if limits.clip_norm > 0 else clip


def _not_frozen(params: Params) -> Any:
    """Which parameters change in training, by the name of the leaf."""

    def trained(path: tuple[Any, ...], _: Any) -> bool:
        return not str(getattr(path[-1], "key", "")).startswith("frozen_") if path else True

    return jax.tree.map_with_path(trained, params)

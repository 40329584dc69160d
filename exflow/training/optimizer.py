"""Optimizers with the semantics of TensorFlow 1, and options of each group of parameters.

The multiplier of a group scales its *update*, which is a real learning rate. (The original BRUNO scales the gradient of
its process; under RMSProp and Adam a constant factor cancels.) A freeze zeroes the gradient, as the original does: the
averages of the optimizer keep decaying meanwhile.

A group that several phases of a step move has one state, which counts its updates: Adam corrects its averages by that.
What is said in steps (schedules, freezes) goes by the step instead, which whoever makes the updates says.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array
from ml_collections import ConfigDict

from exflow.errors import UserError
from exflow.training.groups import MAIN, GroupOf, by_group
from exflow.training.schedules import Schedule, b1_schedule, learning_rate_schedule
from exflow.typing import Params


class AdamState(NamedTuple):
    """State of `scale_by_adam_epsilon_hat`."""

    count: Array  # int32 []
    mean: Params  # average of the gradient
    square: Params  # average of the squared gradient


def scale_by_adam_epsilon_hat(
    b1: float | Schedule, b2: float, epsilon: float = 1e-8
) -> optax.GradientTransformationExtraArgs:
    """Adam with epsilon added to the square root of the *uncorrected* second moment, as TensorFlow 1 does.

    update = sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon); optax adds epsilon after the correction, which is a
    1 / sqrt(1 - b2^t) times larger epsilon in the first updates.

    Args:
      b1: Decay of the average m of gradients; of a function of the step, the present value corrects all of the past.
      b2: Decay of the average v of their squares.
      epsilon: Positive.
    """

    def init(params: Params) -> AdamState:
        return AdamState(jnp.zeros((), jnp.int32), optax.tree.zeros_like(params), optax.tree.zeros_like(params))

    def update(
        updates: Params, state: Any, params: Params = None, *, step: Array | None = None, **extra: Any
    ) -> tuple[Params, Any]:
        del params, extra
        decay = b1(state.count if step is None else step) if callable(b1) else b1
        count = state.count + 1
        mean = jax.tree.map(lambda m, g: decay * m + (1 - decay) * g, state.mean, updates)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.square, updates)
        t = count.astype(float)
        correction = jnp.sqrt(_one_minus_power(b2, t)) / _one_minus_power(decay, t)
        scaled = jax.tree.map(lambda m, v: correction.astype(m.dtype) * m / (jnp.sqrt(v) + epsilon), mean, square)
        return scaled, AdamState(count, mean, square)

    return optax.GradientTransformationExtraArgs(init, update)


def _one_minus_power(base: float | Array, t: Array) -> Array:
    """1 - base^t for t >= 1, without cancellation."""
    if isinstance(base, Array):
        return -jnp.expm1(t * jnp.log(base))
    return -jnp.expm1(t * math.log(base)) if base else jnp.ones_like(t)


def zero_until(num_steps: int) -> optax.GradientTransformationExtraArgs:
    """Replace the gradients of the first `num_steps` steps by zero."""

    def init(params: Params) -> Array:
        del params
        return jnp.zeros((), jnp.int32)

    def update(
        updates: Params, state: Any, params: Params = None, *, step: Array | None = None, **extra: Any
    ) -> tuple[Params, Any]:
        del params, extra
        frozen = (state if step is None else step) < num_steps  # `state` counts the updates
        return jax.tree.map(lambda g: jnp.where(frozen, jnp.zeros_like(g), g), updates), state + 1

    return optax.GradientTransformationExtraArgs(init, update)


def scale_by_rate(schedule: Schedule) -> optax.GradientTransformationExtraArgs:
    """Multiply updates by minus the learning rate; the state is that of `optax.scale_by_schedule`."""
    scale = optax.scale_by_schedule(lambda count: -schedule(count))

    def update(
        updates: Params, state: Any, params: Params = None, *, step: Array | None = None, **extra: Any
    ) -> tuple[Params, Any]:
        del params, extra
        scaled, _ = scale.update(updates, state if step is None else optax.ScaleByScheduleState(step))
        return scaled, optax.ScaleByScheduleState(optax.safe_increment(state.count))

    return optax.GradientTransformationExtraArgs(scale.init, update)


def _preconditioner(config: ConfigDict) -> optax.GradientTransformation:
    if config.name == "rmsprop":
        return optax.scale_by_rms(decay=0.9, eps=1e-10, initial_scale=1.0, eps_in_sqrt=True)
    if config.name == "adam":
        return scale_by_adam_epsilon_hat(b1_schedule(config), config.b2, config.epsilon)
    raise UserError(f"config.optimizer.name: expected 'rmsprop' or 'adam', got {config.name!r}.")


def make_optimizer(
    config: ConfigDict, num_steps: int, group_of: GroupOf
) -> tuple[optax.GradientTransformationExtraArgs, Schedule]:
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
      The transformation of gradients into parameter updates, and the learning rate after a number of steps. The
      transformation takes that number too, as `step`, skipped ones not counted; without it, it is the number of updates
      of each group, which is the same where every step moves a group once.

    Raises:
      UserError: Unknown optimizer or schedule.
    """
    schedule = learning_rate_schedule(config, num_steps)
    adaptive = _preconditioner(config)
    rate = scale_by_rate(schedule)

    def optimizer_of(group: str) -> optax.GradientTransformationExtraArgs:
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

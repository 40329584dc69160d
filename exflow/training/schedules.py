"""What changes in the course of training: the learning rate, and the decay of Adam's average of gradients."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array
from ml_collections import ConfigDict

from exflow.errors import UserError

Schedule = Callable[[Any], Array]
SCHEDULES = ("constant", "exponential", "cosine", "milestones")
LAST_B1 = 0.95  # what b1 tends to with the number of milestones


def learning_rate_schedule(config: ConfigDict, num_steps: int) -> Schedule:
    """Learning rate as a function of the number of steps already made, those skipped not counted.

    rate(t) = learning_rate * shape(t) * min(1, (t + 1) / warmup_steps) * (boost if t >= boost_step else 1), with
    shape(t) = 1, decay_rate^(t + 1), (1 + cos(pi t / num_steps)) / 2, or with "milestones" 2^-k while k milestones are
    at most t, times 1 - (t - hold_steps) / decay_steps from hold_steps on, exactly 0 from hold_steps + decay_steps on.
    Step t is the original's iteration t + 1 (its iteration 0 only initialises), so "times 1.5 from iteration 100" is
    boost 1.5 at boost_step 99.

    Args:
      config: Section `optimizer`.
      num_steps: Length of training in steps, used by "cosine".

    Returns:
      Function from an integer count to a float scalar.

    Raises:
      UserError: Unknown schedule.
    """
    if config.schedule not in SCHEDULES:
        raise UserError(f"config.optimizer.schedule: expected one of {', '.join(SCHEDULES)}, got {config.schedule!r}.")
    log_decay = math.log(config.decay_rate) if config.schedule == "exponential" else 0.0

    def schedule(count: Any) -> Array:
        t = jnp.asarray(count, float)
        rate = jnp.asarray(config.learning_rate, float)
        if config.schedule == "exponential":
            rate = rate * jnp.exp((t + 1) * log_decay)  # a float32 power of 0.999995 is off by 0.6 % after 200,000
        if config.schedule == "cosine":
            rate = rate * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(t / max(num_steps, 1), 1.0)))
        if config.schedule == "milestones":
            rate = rate * _halved(config.milestones, count)
            if config.decay_steps > 0:
                rate = rate * (1 - jnp.clip((t - config.hold_steps) / config.decay_steps, 0.0, 1.0))
        if config.warmup_steps > 0:
            rate = rate * jnp.minimum(1.0, (t + 1) / config.warmup_steps)
        if config.boost != 1.0:
            rate = jnp.where(t >= config.boost_step, rate * config.boost, rate)
        return rate

    return schedule


def b1_schedule(config: ConfigDict) -> float | Schedule:
    """Adam's b1; with milestones a function of the same count as the learning rate.

    Each milestone takes b1 half of the way to 0.95, in step with the rate that it halves:
    b1(t) = 0.95 - (0.95 - b1) 2^-k while k milestones are at most t.
    """
    if config.schedule != "milestones" or not config.milestones:
        return config.b1
    return lambda count: LAST_B1 - (LAST_B1 - config.b1) * _halved(config.milestones, count)


def _halved(milestones: tuple[int, ...], count: Any) -> Array:
    """2^-k after k milestones, exactly."""
    return math.prod((jnp.where(count >= milestone, 0.5, 1.0) for milestone in milestones), start=jnp.asarray(1.0))

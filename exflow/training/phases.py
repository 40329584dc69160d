"""Phases of a training step: losses that move some groups of parameters each, one after the other on one batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from exflow.errors import UserError
from exflow.model import Model, Phase
from exflow.training.groups import GroupOf, groups_of, members
from exflow.typing import Batch, Loss, Params, PRNGKey

PhaseLoss = Callable[[Params, PRNGKey, Batch], tuple[Array, Loss]]


def phases_of(model: Model, params: Params, only_groups: tuple[str, ...] = ()) -> tuple[Phase, ...]:
    """The phases of a model's step; a model that names none has one, which moves all groups by the model's loss.

    Args:
      model: The model.
      params: Its parameters.
      only_groups: The only groups that may move, a phase without any of which is left out; (): all.

    Raises:
      UserError: No phase is left.
    """
    phases = model.phases or (Phase("", model.loss, groups_of(params, model.group_of)),)
    if not only_groups:
        return phases
    some = [phase._replace(groups=tuple(name for name in phase.groups if name in only_groups)) for phase in phases]
    some = tuple(phase for phase in some if phase.groups)
    if not some:
        groups = dict.fromkeys(name for phase in phases for name in phase.groups)
        raise UserError(f"config.training.only_groups: expected some of {', '.join(groups)}, got {only_groups}.")
    return some


def phase_key(key: PRNGKey, number: int) -> PRNGKey:
    """Randomness of one phase of a step, from that of the step's losses; the first phase has the latter itself."""
    return jax.random.fold_in(key, number) if number else key


def of_moving(phase: Phase, params: Params, group_of: GroupOf) -> tuple[Params, PhaseLoss]:
    """The parameters that a phase moves, and its loss as a function of these alone.

    Args:
      phase: A phase.
      params: All parameters; those the phase does not move enter its loss as constants.
      group_of: Name of a top-level parameter -> its group.

    Returns:
      Top-level parameters of the phase's groups; function (these, key, batch) -> (value, all that the loss gives).
    """

    def loss(moving: Params, key: PRNGKey, batch: Batch) -> tuple[Array, Loss]:
        result = phase.loss({**params, **moving}, key, batch)
        return result.value, result

    return members(params, group_of, phase.groups), loss


def no_metrics(loss: PhaseLoss, *arguments: Any) -> dict[str, Array]:
    """What a phase reports of a step that leaves it out: 0 under every name."""
    _, result = jax.eval_shape(loss, *arguments)
    names = ("loss", *result.metrics, "grad_norm")
    return {name: jnp.zeros(()) for name in names}


def phase_metrics(phase: Phase, number: int, metrics: dict[str, Array]) -> dict[str, Array]:
    """Metrics under the names they are logged by: those of all but the first phase have the phase's name in front."""
    return {f"{phase.name}/{name}": value for name, value in metrics.items()} if number else metrics

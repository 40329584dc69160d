"""Optimiser groups: the top-level parameters that a model labels alike share an optimiser.

A model labels its top-level parameters by `group_of(name)`. "main" is the ordinary group; "statistics" holds running
averages, which no optimiser moves and which therefore have no place here. The state of a group depends on its own
gradients only, so that an update may be given the gradients of some groups and leaves the others alone.
"""

from collections.abc import Callable
from typing import Any

import optax

from exflow.typing import Params

MAIN, STATISTICS = "main", "statistics"
GroupOf = Callable[[str], str]


def groups_of(params: Params, group_of: GroupOf) -> tuple[str, ...]:
    """Groups that training moves, in the order of their first parameter."""
    return tuple(dict.fromkeys(group for name in params if (group := group_of(name)) != STATISTICS))


def members(params: Params, group_of: GroupOf, groups: tuple[str, ...]) -> Params:
    """The top-level parameters of some groups."""
    return {name: value for name, value in params.items() if group_of(name) in groups}


def by_group(
    optimizer_of: Callable[[str], optax.GradientTransformationExtraArgs], group_of: GroupOf
) -> optax.GradientTransformationExtraArgs:
    """An optimiser per group.

    Args:
      optimizer_of: Name of a group -> its optimiser, which sees the gradients and parameters of this group alone.
      group_of: Name of a top-level parameter -> name of its group.

    Returns:
      Optimiser whose state is a dict from group to state. Its update takes the gradients of all groups, or of whole
      groups only: then it returns the updates of these, and the state of the others as it was. What else it is told
      goes to the optimisers of the groups.
    """

    def init(params: Params) -> dict[str, Any]:
        groups = groups_of(params, group_of)
        return {group: optimizer_of(group).init(members(params, group_of, (group,))) for group in groups}

    def update(
        updates: Params, state: dict[str, Any], params: Params | None = None, **extra: Any
    ) -> tuple[Params, dict[str, Any]]:
        changes, new_state = {}, dict(state)
        for group in groups_of(updates, group_of):
            own = None if params is None else members(params, group_of, (group,))
            gradients = members(updates, group_of, (group,))
            moved, new_state[group] = optimizer_of(group).update(gradients, state[group], own, **extra)
            changes |= moved  # pyright: ignore[reportOperatorIssue]
        return changes, new_state

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]

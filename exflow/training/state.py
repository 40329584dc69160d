"""What training carries from step to step; everything a checkpoint must hold to resume bit for bit."""

from typing import Any, NamedTuple

from jaxtyping import Array, Int

from exflow.typing import Params


class TrainState(NamedTuple):
    """State of training after `step` steps; a skipped step counts as a step, not as an update."""

    step: Int[Array, ""]  # batches consumed
    params: Params
    ema_params: Params  # exponential moving average of params; () when switched off
    opt_state: Any
    num_skipped_in_a_row: Int[Array, ""]  # non-finite steps since the last good one
    num_skipped: Int[Array, ""]  # non-finite steps since the start


def evaluation_params(state: TrainState) -> Params:
    """Parameters to evaluate with: the moving average where training keeps one, else the last parameters."""
    return state.params if isinstance(state.ema_params, tuple) and not state.ema_params else state.ema_params

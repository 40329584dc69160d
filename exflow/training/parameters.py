"""Parameters to evaluate with, from the checkpoints of a working directory; nothing is changed on disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from exflow.errors import UserError
from exflow.model import Model
from exflow.models.registry import params_like
from exflow.training.checkpoint import Checkpoints
from exflow.typing import Params


def evaluates_averages(config: ConfigDict) -> bool:
    """Whether evaluations take the averaged parameters: where training keeps them and nobody objects."""
    return config.optimizer.ema_decay > 0 and config.evaluation.use_ema


def load_params(
    config: ConfigDict,
    workdir: Path,
    model: Model,
    which: str = "best",
    notify: Callable[[str], None] = print,
) -> tuple[Params, dict[str, Any]]:
    """Parameters of a checkpoint.

    Args:
      config: Complete configuration.
      workdir: Working directory of a run, which may be going on.
      model: Model of the configuration.
      which: "best" (the latest where no checkpoint was validated) or "latest".
      notify: Called with one line for the user where a checkpoint is damaged.

    Returns:
      Parameters as numpy arrays, and the checkpoint's meta data.

    Raises:
      UserError: No good checkpoint, or it does not fit the configuration.
    """
    training = config.training
    checkpoints = Checkpoints(
        workdir / "checkpoints",
        best_metric=training.best_metric,
        best_mode=training.best_mode,
        notify=notify,
        read_only=True,
    )
    part = "ema_params" if evaluates_averages(config) else "params"
    found = checkpoints.restore({part: params_like(model, config)}, which)
    if found is None:
        raise UserError(f"{workdir}: no readable checkpoint. Train first: --mode=train with this --workdir.")
    return found[0][part], found[1]

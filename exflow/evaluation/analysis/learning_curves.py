"""Reading back what training wrote to `metrics.jsonl`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from exflow.errors import UserError

Curves = dict[str, np.ndarray]  # values by name, NaN where a line has none; "step" is one of the names


def read_metrics(workdir: Path) -> dict[str, Curves]:
    """Metrics of a run by split, in the order of their steps.

    Args:
      workdir: Working directory; a line that is still being written is left out.

    Returns:
      Curves of "train", "validation", ...

    Raises:
      UserError: No such file, or nothing in it.
    """
    path = Path(workdir) / "metrics.jsonl"
    if not path.is_file():
        raise UserError(f"{path}: does not exist. Give the --workdir of a training run as --model.")
    lines: dict[str, list[dict[str, Any]]] = {}
    for text in path.read_text().splitlines():
        try:
            line = json.loads(text)
            lines.setdefault(line.pop("split"), []).append(line)
        except (ValueError, KeyError):
            continue
    if not lines:
        raise UserError(f"{path}: holds no metrics yet. Wait for the first ones (training.log_every).")
    return {split: _columns(rows) for split, rows in lines.items()}


def running_mean(values: Float[np.ndarray, " steps"], window: int) -> Float[np.ndarray, " steps"]:
    """Mean of the last `window` values that are numbers, of fewer at the start; NaN where there are none."""
    exists = ~np.isnan(values)
    total, count = (
        np.concatenate([np.zeros(1), np.cumsum(part)]) for part in (np.where(exists, values, 0.0), exists.astype(float))
    )
    first = np.maximum(np.arange(len(values)) + 1 - window, 0)
    number = count[1:] - count[first]
    return np.where(number > 0, (total[1:] - total[first]) / np.maximum(number, 1), np.nan)


def _columns(rows: list[dict[str, Any]]) -> Curves:
    names = dict.fromkeys(name for row in rows for name in row)
    rows = sorted(rows, key=lambda row: row["step"] or 0)
    values = {name: [row.get(name) for row in rows] for name in names}
    return {
        name: np.asarray([np.nan if value is None else value for value in column]) for name, column in values.items()
    }

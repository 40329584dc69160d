"""Checks that the builders of data sets share: options, and files of the user that an environment variable names."""

import os
from collections.abc import Sequence
from pathlib import Path

from exflow.data import provenance
from exflow.errors import UserError


def check_choice(name: str, option: str, value: object, choices: Sequence[object]) -> None:
    """Raise UserError unless an option of the data set `name` has one of the values that it may have."""
    if value not in choices:
        expected = " or ".join(map(repr, choices))
        raise UserError(f"{name}: expected {option} of {expected}, got {value!r}.")


def check_at_least(name: str, smallest: int, **options: int) -> None:
    """Raise UserError unless every one of the given options of the data set `name` is at least `smallest`."""
    for option, value in options.items():
        if value < smallest:
            raise UserError(f"{name}: expected {option} >= {smallest}, got {value}.")


def user_path(name: str, variable: str, kind: str, advice: str) -> Path:
    """The file or folder of the user that an environment variable names.

    Args:
      name: Of the data set.
      variable: Of the environment.
      kind: "file" or "folder".
      advice: Ends the message "Set it to ...": what belongs there, and what runs without it.

    Raises:
      UserError: If the variable is not set or names something else.
    """
    configured = os.environ.get(variable)
    path = Path(configured or "").expanduser()
    if configured and (path.is_file() if kind == "file" else path.is_dir()):
        provenance.note(provenance.FILES, variable, provenance.state_of_files(path))
        return path
    reason = f"{variable} names {path}, which is no {kind}" if configured else f"{variable} is not set"
    raise UserError(f"{name}: {reason}. Set it to {advice}")

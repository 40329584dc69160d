"""What experiments on several models share: opening them, and what identifies each in a report."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exflow.errors import UserError
from exflow.models.registry import num_parameters
from experiments.subject import Subject


def open_subjects(flags: argparse.Namespace, open_one: Callable[[argparse.Namespace], Subject]) -> dict[str, Subject]:
    """The models that `--model` names, by the names of their directories, tested on the same classes.

    Args:
      flags: Command line.
      open_one: Opens one, from flags that name it alone.

    Raises:
      UserError: Two have one name, they were not tested on the same classes, or what `open_one` raises.
    """
    names = [Path(model).name for model in flags.model]
    if len(set(names)) < len(names):
        raise UserError(f"--model: expected different names, got {', '.join(names)}. Rename a working directory.")
    subjects = [open_one(argparse.Namespace(**vars(flags) | {"model": [model]})) for model in flags.model]
    check_same_data(names, subjects)
    return dict(zip(names, subjects, strict=True))


def facts_of(subjects: dict[str, Subject]) -> dict[str, Any]:
    """What identifies each model in a report, and what its likelihood is of."""
    return {
        "models": {
            name: {"model": subject.model.name, "num_parameters": num_parameters(subject.model.params)}
            | {"scores": scored(subject), **subject.model.info}
            for name, subject in subjects.items()
        }
    }


def check_same_data(names: list[str], subjects: list[Subject]) -> None:
    """Refuse models that were not tested on the same classes.

    Raises:
      UserError: Names the first that differs.
    """

    def classes(subject: Subject) -> tuple:
        data = subject.config.data
        return data.dataset, data.split, data.options

    for name, subject in zip(names, subjects, strict=True):
        if classes(subject) != classes(subjects[0]):
            raise UserError(
                f"--model: {name} has test classes of {classes(subject)}, {names[0]} of {classes(subjects[0])}. "
                "Train both on one division: --config.data.dataset=... --config.data.split=..."
            )


def scored(subject: Subject) -> str:
    """What a likelihood is of; only equal ones can be compared."""
    model = subject.model.core
    height, width, channels = model.image_shape
    if model.of_vectors:
        return f"vectors of {channels}"
    law = None if model.latents is None else model.latents.likelihood
    what = "gray levels" if channels == 1 else f"levels of {channels} colours"
    if law is not None and law.name.startswith("bernoulli"):
        what = "binarised pixels" if channels == 1 else f"binarised {what}"
    elif law is not None and not law.discrete:
        what += f" as real numbers ({law.name})"
    return f"{what}, {height}x{width}"

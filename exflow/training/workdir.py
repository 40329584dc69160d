"""A working directory: one run at a time, and one configuration for all its runs."""

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from exflow.config import from_json, to_json
from exflow.errors import UserError
from exflow.training.file_lock import locked

FIXED_SECTIONS = ("model", "objective", "data", "optimizer")  # training may be lengthened, logged otherwise, ...
LENGTH_BOUND = ("cosine",)  # schedules that depend on training.num_steps
FIXED_TRAINING = ("seed", "init_from")


@contextmanager
def locked_workdir(workdir: Path) -> Iterator[Path]:
    """Create the working directory and keep other runs out of it; the lock dies with the process, however it ends.

    Raises:
      UserError: The directory cannot be written, or another run is using it.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = (workdir / "lock").open("a+")
    except OSError as error:
        raise UserError(f"{workdir}: cannot be written ({error.strerror}). Choose another --workdir.") from error
    with file:
        if not locked(file):
            file.seek(0)
            owner = file.read(64).strip() or "unknown"
            raise UserError(
                f"{workdir}: another run (process {owner}) is using it. Wait for it, or choose another --workdir."
            )
        with suppress(OSError):  # a full disk: it is only for the message
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
        yield workdir


def write_atomically(path: Path, text: str) -> None:
    """Replace a file so that a reader, or a crash, sees the old or the new content and nothing in between."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


def store_config(config: ConfigDict, workdir: Path, step: int) -> None:
    """Write `config.json`, unless the directory holds results of an incompatible configuration.

    Args:
      config: Complete configuration.
      workdir: Working directory.
      step: Of the newest checkpoint, which is to be protected; 0: there is none, and an old file is replaced.

    Raises:
      UserError: Sections that must stay as they are differ; names the differences. Or the length of training does not
        suit the steps that have been made.
    """
    path = workdir / "config.json"
    new = json.loads(to_json(config))
    if step and path.exists():
        try:
            old = json.loads(to_json(from_json(path.read_text())))
        except UserError:
            raise
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path}: not readable as a configuration. Restore it, or choose another --workdir."
            ) from error
        differences = config_differences(old, new)
        if differences:
            more = f"; and {len(differences) - 6} more" if len(differences) > 6 else ""
            raise UserError(
                f"{workdir}: holds a run with another configuration ({'; '.join(differences[:6])}{more}). "
                "Choose another --workdir, or the old values to resume it."
            )
        _check_length(old, new, step, workdir)
    write_atomically(path, json.dumps(new, indent=2) + "\n")


def _check_length(old: dict[str, Any], new: dict[str, Any], step: int, workdir: Path) -> None:
    """Refuse a length of training that a run at this step cannot have, so that `config.json` stays true of all of it.

    A schedule that ends with training (cosine) belongs to one length: under another one its rate would jump, and the
    whole would be no run that any configuration describes.

    Raises:
      UserError: Says how to go on.
    """
    before, after = old["training"]["num_steps"], new["training"]["num_steps"]
    if after < step:
        raise UserError(
            f"config.training.num_steps: expected at least {step}, the steps that {workdir} has made, got {after}. "
            "Set it higher, or choose another --workdir."
        )
    if after != before and new["optimizer"]["schedule"] in LENGTH_BOUND:
        raise UserError(
            f"config.training.num_steps: expected {before}, on which the {new['optimizer']['schedule']} schedule of "
            f"{workdir} depends, got {after}. To go on from its parameters, train in another --workdir with "
            f"--mode=finetune --config.training.init_from={shlex.quote(str(workdir))}"
        )


def config_differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Values that a resumed run may not change, each as "section.key: old -> new"."""
    old_values, new_values = _fixed_values(old), _fixed_values(new)

    def show(values: dict[str, Any], name: str) -> str:
        return json.dumps(values[name]) if name in values else "absent"

    return [
        f"{name}: {show(old_values, name)} -> {show(new_values, name)}"
        for name in sorted(old_values.keys() | new_values.keys())
        if show(old_values, name) != show(new_values, name)
    ]


def _fixed_values(config: dict[str, Any]) -> dict[str, Any]:
    def flatten(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from flatten(f"{prefix}.{key}", inner)
        else:
            yield prefix, value

    values = {f"training.{name}": config.get("training", {}).get(name) for name in FIXED_TRAINING}
    for section in FIXED_SECTIONS:
        values |= dict(flatten(section, config.get(section, {})))
    return values

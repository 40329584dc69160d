"""A working directory: one run at a time, and one configuration for all its runs."""

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from exflow.config import from_json, to_json
from exflow.errors import UserError

FIXED_SECTIONS = ("model", "objective", "data", "optimizer")  # training may be lengthened, logged otherwise, ...
FIXED_TRAINING = ("seed",)


@contextmanager
def locked_workdir(workdir: Path) -> Iterator[Path]:
    """Create the working directory and keep other runs out of it; the lock dies with the process, however it ends.

    Raises:
      UserError: The directory cannot be written, or another run is using it.
    """
    path = workdir / "lock"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UserError(f"{workdir}: cannot be written ({error.strerror}). Choose another --workdir.") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                owner = os.pread(descriptor, 64, 0).decode(errors="replace").strip() or "unknown"
                raise UserError(
                    f"{workdir}: another run (process {owner}) is using it. Wait for it, or choose another --workdir."
                ) from error
            # a file system without locks (ENOLCK, ENOTSUP): go on without one
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield workdir
    finally:
        os.close(descriptor)


def write_atomically(path: Path, text: str) -> None:
    """Replace a file so that a reader, or a crash, sees the old or the new content and nothing in between."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


def store_config(config: ConfigDict, workdir: Path, has_progress: bool) -> None:
    """Write `config.json`, unless the directory holds results of an incompatible configuration.

    Args:
      config: Complete configuration.
      workdir: Working directory.
      has_progress: Whether there is anything to protect (checkpoints); otherwise an old file is replaced.

    Raises:
      UserError: Sections that must stay as they are differ; names the differences.
    """
    path = workdir / "config.json"
    new = json.loads(to_json(config))
    if has_progress and path.exists():
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
    write_atomically(path, json.dumps(new, indent=2) + "\n")


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

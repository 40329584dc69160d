"""What is inside a checkpoint, and reading it with verification."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from exflow.errors import UserError
from exflow.training.array_names import digest_of, named_leaves

FORMAT = 2  # raised when older programs could not read what is written
# Format 1: where the state of a group's optimizer lay, and what its group is called now
FORMER_STATE = re.compile(r"(opt_state/\d+)/inner_states/(\w+)/inner_state/")
FORMER_GROUPS = {"flow": "main"}


class DamagedCheckpoint(Exception):
    """A checkpoint that cannot be read, or whose content is not what was written."""


def only_this_process() -> ocp.options.MultiprocessingOptions:
    """Orbax options: the first host reads and writes, without waiting for others."""
    index = jax.process_index()
    return ocp.options.MultiprocessingOptions(primary_host=index, active_processes={index})


def list_steps(directory: Path) -> list[int]:
    """Steps of the completed checkpoints in `directory`, ascending; damaged ones that were set aside do not count."""
    if not directory.is_dir():
        return []
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit() and path.is_dir())


def read_checkpoint(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read and verify one checkpoint.

    Args:
      path: Folder of one step.

    Returns:
      Arrays by name ("params/flow/..."), and the meta data.

    Raises:
      DamagedCheckpoint: It cannot be read or its digest differs.
      UserError: It was written by an incompatible version.
    """
    try:
        with quiet_about_abandoned_arrays():
            reader = ocp.Checkpointer(ocp.CompositeCheckpointHandler(), multiprocessing_options=only_this_process())
            items = ocp.args.Composite(state=ocp.args.StandardRestore(), meta=ocp.args.JsonRestore())
            with reader:
                content = reader.restore(path.absolute(), args=items)
        meta = dict(content["meta"])
        arrays = {name: np.asarray(leaf) for name, leaf in named_leaves(content["state"]).items()}
        digest = meta.pop("digest")
        if meta["format"] > FORMAT:
            raise UserError(f"{path}: written by a newer exflow (format {meta['format']}). Update exflow.")
        if digest != digest_of(arrays, meta):
            raise DamagedCheckpoint("its content differs from what was written")
        if meta["format"] < 2:
            arrays = from_format_1(arrays)
    except (UserError, DamagedCheckpoint):
        raise
    except Exception as error:  # Orbax and TensorStore raise many kinds for truncated, missing and garbled files
        raise DamagedCheckpoint(f"it cannot be read: {type(error).__name__}") from error
    return arrays, meta


def from_format_1(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of a checkpoint of format 1 under the names of format 2.

    A state of format 1 has every group, whatever the model: a group that has no parameters has nothing but counters of
    updates, which are left out.
    """

    def rename(match: re.Match[str]) -> str:
        return f"{match[1]}/{FORMER_GROUPS.get(match[2], match[2])}/"

    renamed = {FORMER_STATE.sub(rename, name): array for name, array in arrays.items()}
    of_a_group = {name: found[0] for name in renamed if (found := re.match(r"opt_state/\d+/[a-z]\w*/", name))}
    full = {group for name, group in of_a_group.items() if not re.search(r"/\d+(/count)?$", name)}
    return {name: array for name, array in renamed.items() if of_a_group.get(name) in full | {None}}


@contextmanager
def quiet_about_abandoned_arrays() -> Iterator[None]:
    """Keep a damaged checkpoint, or a full disk, from printing tracebacks.

    When one array cannot be read or written, Orbax closes its event loop under the others; Python reports each of them,
    some time later, as an exception nobody catches. After a failure those reports, and no others, stay switched off.
    """
    previous = sys.unraisablehook

    def hook(report: Any) -> None:
        if not (isinstance(report.exc_value, RuntimeError) and str(report.exc_value) == "Event loop is closed"):
            previous(report)

    sys.unraisablehook = hook
    yield
    sys.unraisablehook = previous


def meta_on_disk(path: Path) -> dict[str, Any]:
    """Meta data stored with a checkpoint, not verified; empty where they cannot be read."""
    try:
        return dict(json.loads((path / "meta" / "metadata").read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def metrics_on_disk(path: Path) -> dict[str, float]:
    """Validation metrics stored with a checkpoint; empty where they cannot be read."""
    metrics = meta_on_disk(path).get("metrics")
    return metrics if isinstance(metrics, dict) else {}


def image_shape_on_disk(directory: Path) -> tuple[int, int, int]:
    """Height, width and channels of what the model of a working directory sees, as its newest checkpoint says.

    Args:
      directory: Holds the checkpoints, all of one model.

    Raises:
      UserError: There is no readable checkpoint, or none that says it.
    """
    found = [meta for step in reversed(list_steps(directory)) if (meta := meta_on_disk(directory / str(step)))]
    if not found:
        raise UserError(f"no good checkpoint in {directory}. Train first, with --workdir={directory.parent}.")
    shape = next((meta["image_shape"] for meta in found if "image_shape" in meta), None)
    if not (isinstance(shape, list) and len(shape) == 3 and all(isinstance(size, int) for size in shape)):
        raise UserError(
            f"{directory}: no checkpoint says which image_shape its model takes (they are older than exflow 0.1). "
            f"Train on with --workdir={directory.parent} and a larger --config.training.num_steps, which saves one."
        )
    return shape[0], shape[1], shape[2]


def set_aside(path: Path) -> Path:
    """Rename a damaged checkpoint so that it no longer counts as one; returns its new path."""
    number = 0
    while (aside := path.with_name(f"{path.name}.damaged{f'-{number}' if number else ''}")).exists():
        number += 1
    return path.rename(aside)

"""Checkpoints by Orbax: asynchronous, latest and best kept, every one verified end to end when read.

A checkpoint holds `state`, all arrays of the training state under names from its tree, and `meta`, a JSON object with
the step, metrics, configuration and a digest of everything. Arrays are copied to the host before the save returns, so
that training may reuse its buffers. Reading recomputes the digest: a truncated, missing or altered file is noticed even
where Orbax would fill in zeros. Only the first of several hosts touches the disk; the others are sent what it read.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from exflow.errors import UserError
from exflow.training.array_names import all_leaves, digest_of, fitting, named_leaves, nested
from exflow.training.checkpoint_format import (
    FORMAT,
    DamagedCheckpoint,
    list_steps,
    metrics_on_disk,
    only_this_process,
    read_checkpoint,
    set_aside,
)
from exflow.training.hosts import broadcast_json, broadcast_tree


class Checkpoints:
    """The checkpoints of one working directory."""

    def __init__(
        self,
        directory: Path,
        keep: int = 2,
        best_metric: str = "",
        best_mode: str = "max",
        notify: Callable[[str], None] = print,
        read_only: bool = False,
    ):
        """Look at what is there; nothing is written before `restore` or `save`.

        Args:
          directory: Created by the first save.
          keep: Number of latest checkpoints kept, at least 1; the best one is kept besides.
          best_metric: Name in the metrics given to `save` by which the best is chosen; "" keeps only the latest.
          best_mode: "max" or "min".
          notify: Called with one line for the user where something is wrong.
          read_only: Leave damaged checkpoints where they are; another run may be training here.
        """
        self.directory, self._read_only = Path(directory), read_only
        self._keep, self._best_metric, self._notify = max(keep, 1), best_metric, notify
        self._sign = -1.0 if best_mode == "min" else 1.0
        self._manager: ocp.CheckpointManager | None = None
        self._metrics = {step: metrics_on_disk(self.directory / str(step)) for step in self.steps()}

    def steps(self) -> list[int]:
        """Steps of the checkpoints on disk, ascending."""
        return list_steps(self.directory)

    def best_step(self) -> int | None:
        """Step of the checkpoint with the best metric; None where no checkpoint has it."""
        scores = {step: metrics.get(self._best_metric) for step, metrics in self._metrics.items()}
        scores = {step: self._sign * score for step, score in scores.items() if score is not None}
        return max(scores, key=lambda step: (scores[step], step)) if scores else None

    def is_best(self, metrics: dict[str, Any]) -> bool:
        """Whether `metrics` beat those of all checkpoints on disk."""
        score, best = metrics.get(self._best_metric), self.best_step()
        if score is None or not np.isfinite(score):
            return False
        return best is None or self._sign * score > self._sign * self._metrics[best][self._best_metric]

    def save(self, state: Any, meta: dict[str, Any], metrics: dict[str, float] | None = None) -> None:
        """Copy `state` to the host and start writing it; a step that is on disk already is left as it is.

        Args:
          state: Training state with a field `step`, on devices.
          meta: JSON values kept with it.
          metrics: Validation metrics of this very state; non-finite ones are dropped.

        Raises:
          UserError: The directory cannot be written.
        """
        if jax.process_index() != 0:
            return
        arrays = {name: np.array(leaf) for name, leaf in named_leaves(state).items()}
        step = int(arrays["step"])
        if step in self._metrics:
            return
        finite = {name: float(value) for name, value in (metrics or {}).items() if np.isfinite(value)}
        meta = json.loads(json.dumps({**meta, "format": FORMAT, "step": step, "metrics": finite}))
        meta["digest"] = digest_of(arrays, meta)
        items = ocp.args.Composite(state=ocp.args.StandardSave(nested(arrays)), meta=ocp.args.JsonSave(meta))
        self._metrics[step] = finite
        self._guarded(lambda: self._open().save(step, args=items, force=True))

    def restore(self, like: Any, which: str = "latest") -> tuple[Any, dict[str, Any]] | None:
        """Read the newest (or best) good checkpoint; damaged ones are renamed, never deleted, and reported.

        Args:
          like: Tree of arrays or shapes that the checkpoint must fit: a training state or a part of one, such as
            `{"params": params}`.
          which: "latest" or "best"; where the best is damaged or unknown the latest is used.

        Returns:
          Tree like `like` of numpy arrays, and the meta data; None where there is no good checkpoint.

        Raises:
          UserError: The checkpoint does not fit `like`.
        """
        message, arrays = {"status": "none"}, None
        if jax.process_index() == 0:
            try:
                found = self._read_newest(which)
                if found is not None:
                    step, arrays, meta = found
                    arrays = fitting(arrays, like, self.directory / str(step))
                    message = {"status": "ok", "meta": meta}
            except UserError as error:
                message = {"status": "error", "error": str(error)}
        message = broadcast_json(message)
        if message["status"] == "error":
            raise UserError(message["error"])
        if message["status"] == "none":
            return None
        leaves = all_leaves(like)
        if arrays is not None:
            leaves = {name: arrays.get(name, np.zeros(leaf.shape, leaf.dtype)) for name, leaf in leaves.items()}
        tree = jax.tree.unflatten(jax.tree.structure(like), list(leaves.values()))
        return broadcast_tree(tree), message["meta"]

    def wait(self) -> None:
        """Return when the last save is on disk."""
        if self._manager is not None:
            self._guarded(self._manager.wait_until_finished)

    def close(self) -> None:
        """Finish the last save and stop Orbax's threads."""
        self.wait()
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    def _read_newest(self, which: str) -> tuple[int, dict[str, np.ndarray], dict[str, Any]] | None:
        for path in [] if self._read_only else sorted(self.directory.glob("*.orbax-checkpoint-tmp*")):
            self._notify(f"checkpoint {path.name.split('.')[0]} in {self.directory} was only half written: ignored.")
            shutil.rmtree(path, ignore_errors=True)  # Orbax's own scratch folder, never a checkpoint
        order = self.steps()[::-1]
        best = self.best_step() if which == "best" else None
        order = ([best] if best is not None else []) + [step for step in order if step != best]
        for step in order:
            path = self.directory / str(step)
            try:
                return step, *read_checkpoint(path)
            except DamagedCheckpoint as error:
                self._metrics.pop(step, None)
                kept = "" if self._read_only else f"kept as {set_aside(path).name}, "
                self._notify(f"checkpoint {step} in {self.directory} is damaged ({error}): {kept}trying another.")
        return None

    def _open(self) -> ocp.CheckpointManager:
        if self._manager is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            options = ocp.CheckpointManagerOptions(
                create=False,
                save_root_metadata=False,
                lightweight_initialize=True,  # a damaged older checkpoint must not stop training
                preservation_policy=_LatestAndBest(self._keep, self.best_step),
                multiprocessing_options=only_this_process(),
            )
            self._manager = ocp.CheckpointManager(self.directory.absolute(), options=options)
        return self._manager

    def _guarded(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            full = os.strerror(errno.ENOSPC)
            first = full if full in first else first
            raise UserError(
                f"{self.directory}: a checkpoint could not be written ({first}). Free disk space or change --workdir."
            ) from error


class _LatestAndBest:
    """Orbax preservation policy: the latest few and the best one."""

    def __init__(self, keep: int, best_step: Callable[[], int | None]):
        self._keep, self._best_step = keep, best_step

    def should_preserve(self, checkpoints: Any, *, context: Any) -> Any:
        """One truth value per checkpoint: whether to keep it."""
        best = self._best_step()
        either = [policies.LatestN(self._keep), policies.CustomSteps([] if best is None else [best])]
        return policies.AnyPreservationPolicy(either).should_preserve(checkpoints, context=context)

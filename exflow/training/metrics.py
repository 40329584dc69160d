"""Where numbers go while training: metrics.jsonl, TensorBoard and the terminal."""

import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from exflow.training.workdir import write_atomically


class MetricsWriter:
    """Writes one JSON object per line to `metrics.jsonl`, the same numbers to TensorBoard, and shows progress."""

    def __init__(self, workdir: Path, first_step: int, num_steps: int, active: bool = True):
        """Open the files; lines beyond `first_step`, of a run that was killed after its last checkpoint, are dropped.

        Args:
          workdir: Existing working directory.
          first_step: Step at which training resumes.
          num_steps: Step at which it ends, for the progress bar.
          active: False in all but the first of several hosts; nothing is written then.
        """
        self._active, self._bar, self._num_steps = active, None, num_steps
        if not active:
            return
        from tensorboardX import SummaryWriter

        path = workdir / "metrics.jsonl"
        _drop_lines_beyond(path, first_step)
        self._file = path.open("a", buffering=1)
        self._tensorboard = SummaryWriter(
            str(workdir / "tensorboard"), purge_step=first_step + 1 if first_step else None
        )
        if sys.stderr.isatty():
            self._bar = tqdm(total=num_steps, initial=first_step, unit="step", dynamic_ncols=True)

    def write(self, step: int, split: str, values: dict[str, float], **extra: float) -> None:
        """Record `values` of one split at one step.

        Args:
          step: Steps done.
          split: "train", "validation", ...
          values: Numbers by name; those that are not finite become null.
          **extra: Further fields, such as examples_per_second (images per second).
        """
        if not self._active:
            return
        values = {**values, **extra}
        self._file.write(
            json.dumps({"step": step, "split": split} | {k: _json_number(v) for k, v in values.items()}) + "\n"
        )
        for name, value in values.items():
            if math.isfinite(value):
                self._tensorboard.add_scalar(f"{split}/{name}", value, step)

    def progress(self, step: int, values: dict[str, float], examples_per_second: float) -> None:
        """Move the progress bar, or print a line where there is no terminal."""
        shown = {name: f"{values[name]:.4g}" for name in values if name not in ("num_skipped", "num_skipped_in_a_row")}
        if self._bar is not None:
            self._bar.set_postfix(loss=shown.get("loss", "?"), images_per_s=f"{examples_per_second:.0f}", refresh=False)
            self._bar.update(step - self._bar.n)
        elif self._active:
            numbers = "  ".join(f"{name} {value}" for name, value in shown.items())
            print(f"step {step}/{self._num_steps}  {numbers}  {examples_per_second:.0f} images/s", flush=True)

    def say(self, line: str) -> None:
        """Print one line without tearing the progress bar."""
        if not self._active:
            return
        if self._bar is not None:
            self._bar.write(line, file=sys.stdout)
        else:
            print(line, flush=True)

    def close(self) -> None:
        """Finish all files; one that a full disk keeps from it is told, so that nothing hides what ended the run."""
        if self._bar is not None:
            self._bar.close()
        if not self._active:
            return
        writers: list[Any] = [*(self._tensorboard.all_writers or {}).values()]
        for close in (self._file.close, self._tensorboard.close):
            try:
                close()
            except OSError as error:
                print(f"metrics of the last steps could not be written ({error.strerror}).", flush=True)
        for writer in writers:
            writer.event_writer._closed = True  # it would try again when the program ends


class Stopwatch:
    """Wall and CPU seconds, with pauses, added to those of earlier runs."""

    def __init__(self, wall: float = 0.0, cpu: float = 0.0):
        self._wall, self._cpu = wall, cpu
        self._start: tuple[float, float] | None = (time.perf_counter(), time.process_time())

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count what is done meanwhile."""
        self._wall, self._cpu = self.read()
        self._start = None
        yield
        self._start = (time.perf_counter(), time.process_time())

    def read(self) -> tuple[float, float]:
        """Seconds so far: wall, CPU (of all threads of this process)."""
        if self._start is None:
            return self._wall, self._cpu
        return self._wall + time.perf_counter() - self._start[0], self._cpu + time.process_time() - self._start[1]


def _json_number(value: Any) -> float | int | None:
    if isinstance(value, int):
        return value
    return float(value) if math.isfinite(value) else None


def _drop_lines_beyond(path: Path, step: int) -> None:
    if not path.exists():
        return
    lines = path.read_text().splitlines()
    kept = [line for line in lines if _step_of(line) <= step]
    if len(kept) < len(lines):
        write_atomically(path, "".join(f"{line}\n" for line in kept))


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf  # a line that was being written when the run was killed

"""Metrics of the steps since the last log: kept on the device until they are wanted, then averaged and written."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np
from jaxtyping import Array

from exflow.errors import UserError
from exflow.training.setup import Run

LAST = ("learning_rate", "num_skipped", "num_skipped_in_a_row")  # logged as they are, not as means
MAX_PENDING = 1000  # metrics on the device
MAX_ROWS = 10_000  # metrics on the host, where nothing is logged


class TrainingDiverged(UserError):
    """The loss or its gradient was not finite too many steps in a row."""


class History:
    """Collects what steps report, without waiting for them."""

    def __init__(self, run: Run):
        """Start where the run starts."""
        self._run, self._limit = run, run.config.training.max_nonfinite_steps
        self._pending: deque[dict[str, Array]] = deque()
        self._rows: deque[dict[str, np.ndarray]] = deque(maxlen=MAX_ROWS)
        self._step, self._logged, self._compiled = run.step, run.step, False
        self._clock = time.perf_counter()

    def add(self, metrics: list[dict[str, Array]], num_steps: int) -> None:
        """Note the metrics of one call; waits where it would be more than two calls ahead of the device."""
        self._pending.extend(metrics)
        self._step += num_steps
        if len(self._pending) > 2 * len(metrics):
            jax.block_until_ready(self._pending[-2 * len(metrics) - 1]["loss"])
        if not self._compiled:  # compilation does not count as speed
            jax.block_until_ready(metrics[-1]["loss"])
            self._clock, self._logged, self._compiled = time.perf_counter(), self._step, True
        if len(self._pending) >= MAX_PENDING:
            self.fetch()

    def fetch(self) -> None:
        """Bring all metrics to the host: afterwards the state is known to be good.

        Raises:
          TrainingDiverged: Too many steps in a row were not finite.
        """
        for metrics in jax.device_get(list(self._pending)):
            self._rows.append({name: np.atleast_1d(value) for name, value in metrics.items()})
        self._pending.clear()
        worst = max((int(row["num_skipped_in_a_row"].max()) for row in self._rows), default=0)
        if worst >= self._limit > 0:
            raise TrainingDiverged(self._divergence())

    def _divergence(self) -> str:
        """Where it happened and what is left."""
        in_a_row = np.concatenate([row["num_skipped_in_a_row"] for row in self._rows])
        end = int(np.argmax(in_a_row >= self._limit))
        last = self._step - len(in_a_row) + end
        first = last - int(in_a_row[end]) + 1
        checkpoints = self._run.checkpoints
        checkpoints.wait()
        saved = checkpoints.steps()
        good = checkpoints.directory / str(saved[-1]) if saved else "none"
        return (
            f"loss or gradient not finite in steps {first} to {last} (from 0; batch seed "
            f"{self._run.config.training.seed}); parameters are as before step {first}, last good checkpoint: {good}. "
            "Lower --config.optimizer.learning_rate or set --config.optimizer.clip_norm, with another --workdir."
        )

    def log(self) -> None:
        """Write the means since the last log."""
        self.fetch()
        if not self._rows:
            return
        columns = {name: np.concatenate([row[name] for row in self._rows]) for name in self._rows[0]}
        self._rows.clear()
        values = {name: float(column[-1]) if name in LAST else _finite_mean(column) for name, column in columns.items()}
        seconds, num_steps = time.perf_counter() - self._clock, self._step - self._logged
        rate = num_steps * self._run.images_per_step / seconds if num_steps > 0 else 0.0
        self._run.writer.write(self._step, "train", values, examples_per_second=rate)
        self._run.writer.progress(self._step, values, rate)
        self._clock, self._logged = time.perf_counter(), self._step

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out of the rate what is done meanwhile."""
        start = time.perf_counter()
        yield
        self._clock += time.perf_counter() - start


def _finite_mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean(dtype=np.float64)) if finite.size else float("nan")

"""Fitting one model to one pipeline: resume, step, log, evaluate, save, stop."""

import itertools
import json
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from exflow.config import to_json
from exflow.errors import UserError
from exflow.model import Model, Refit
from exflow.models.registry import num_parameters
from exflow.training.checkpoint import Checkpoints
from exflow.training.devices import configure_devices
from exflow.training.hosts import on_first_process
from exflow.training.initialization import batches_at, fit_in_closed_form, initial_params
from exflow.training.metrics import MetricsWriter, Stopwatch
from exflow.training.optimizer import make_optimizer
from exflow.training.sharding import replicate
from exflow.training.state import TrainState
from exflow.training.step import init_train_state, make_train_step
from exflow.training.stopping import StopRequest, caught_signals
from exflow.training.workdir import locked_workdir, store_config
from exflow.typing import Batch, Params, PRNGKey

Evaluate = Callable[[TrainState, int], dict[str, float]]  # (state, step) -> validation metrics


class FitResult(NamedTuple):
    """How a call of `fit` ended."""

    state: TrainState  # on the devices of the mesh
    step: int
    finished: bool  # False: stopped early, to be resumed
    wall_seconds: float  # spent training, over all runs in this working directory, evaluation not counted
    cpu_seconds: float  # the same in CPU time of the first process
    checkpoints: Checkpoints


class TrainingDiverged(UserError):
    """The loss or its gradient was not finite too many steps in a row."""


def fit(
    config: ConfigDict,
    workdir: Path | str,
    model: Model,
    pipeline: Any,
    *,
    evaluate: Evaluate | None = None,
    transform: Callable[[PRNGKey, Batch, Any], Batch] | None = None,
    mesh: Mesh | None = None,
    warm_start: Callable[[Params], Params] | None = None,
    refit: Refit | None = None,
) -> FitResult:
    """Train, resuming from the newest good checkpoint in `workdir` if there is one.

    Killed at any moment and run again, training ends with the same parameters bit for bit on the same machine. SIGTERM,
    Ctrl-C and the time budget finish the current call, save and return with `finished` False.

    Args:
      config: Complete configuration; sections `optimizer` and `training` are read here.
      workdir: Receives config.json, checkpoints/, metrics.jsonl and tensorboard/.
      model: What to train.
      pipeline: Where batches come from, see `exflow.data.pipelines.episodes.Pipeline`.
      evaluate: Called every `training.evaluate_every` steps and at the end; returns validation metrics.
      transform: Augmentation inside the compiled step.
      mesh: As returned by `configure_devices`, which is called if it is not given.
      warm_start: Takes the initial parameters and returns those to start from, of the same structure and shapes.
      refit: What has a closed form, and when it is fitted; a warm start is not fitted again before the first step.

    Returns:
      Final state and how training ended.

    Raises:
      UserError: `workdir` cannot be used with this configuration, or is in use.
      TrainingDiverged: `training.max_nonfinite_steps` steps in a row were not finite.
    """
    start, workdir = time.monotonic(), Path(workdir)
    mesh = mesh or configure_devices(config)
    stop = StopRequest(float(config.training.time_budget_seconds), start)
    with ExitStack() as stack:
        checkpoints = Checkpoints(
            workdir / "checkpoints",
            keep=config.training.keep_checkpoints,
            best_metric=config.training.best_metric,
            best_mode=config.training.best_mode,
        )

        def claim() -> None:
            stack.enter_context(locked_workdir(workdir))
            store_config(config, workdir, has_progress=bool(checkpoints.steps()))

        on_first_process(claim)
        stack.enter_context(caught_signals(stop))
        stack.callback(checkpoints.close)
        return _Run(
            config,
            workdir,
            model,
            pipeline,
            mesh,
            checkpoints,
            stop,
            evaluate,
            transform,
            warm_start,
            refit,
            stack,
        ).run()


class _Run:
    """One call of `fit`."""

    def __init__(
        self,
        config: ConfigDict,
        workdir: Path,
        model: Model,
        pipeline: Any,
        mesh: Mesh,
        checkpoints: Checkpoints,
        stop: StopRequest,
        evaluate: Evaluate | None,
        transform: Callable[[PRNGKey, Batch, Any], Batch] | None,
        warm_start: Callable[[Params], Params] | None,
        refit: Refit | None,
        stack: ExitStack,
    ):
        self.config, self.training, self.model = config, config.training, model
        self.pipeline, self.mesh, self.checkpoints, self.stop = pipeline, mesh, checkpoints, stop
        self.transform, self.refit = transform, refit
        self.evaluate = evaluate if config.training.evaluate_every else None
        optimizer, schedule = make_optimizer(config.optimizer, config.training.num_steps)
        init_key, self.train_key = jax.random.split(jax.random.key(config.training.seed))
        self.resident = replicate(mesh, pipeline.resident)
        self.train_step = make_train_step(
            model,
            optimizer,
            schedule,
            pipeline.materialize,
            self.train_key,
            mesh,
            config.optimizer.ema_decay,
            transform,
        )
        batch = self.batches(0, 1)[0]
        self.images_per_step = batch.mask.size

        def new_state(params: Params) -> TrainState:
            return init_train_state(optimizer, params, config.optimizer.ema_decay, mesh)

        like = jax.eval_shape(lambda batch: new_state(model.init(init_key, batch)), batch)
        restored = checkpoints.restore(like)
        self.rows: deque[dict[str, np.ndarray]] = deque(maxlen=10_000)  # metrics fetched since the last log
        self.pending: deque[dict[str, jax.Array]] = deque()  # metrics on the device
        self.last_evaluation, self.meta = 0, {}
        if restored is None:
            params = initial_params(model, init_key, batch)
            if warm_start is not None:
                params = warm_start(params)
            elif refit is not None and refit.at_start:
                params = fit_in_closed_form(model, refit, params, self.train_key, self.batches(0, refit.num_batches))
            self.state = new_state(replicate(mesh, params))
        else:
            host_state, self.meta = restored
            self.state = replicate(mesh, host_state)
        self.step = int(self.meta.get("step", 0))
        self.last_evaluation = self.meta.get("last_evaluation", 0)
        self.writer = MetricsWriter(workdir, self.step, self.training.num_steps, active=jax.process_index() == 0)
        stack.callback(self.writer.close)
        self.watch = Stopwatch(self.meta.get("wall_seconds", 0.0), self.meta.get("cpu_seconds", 0.0))
        number = num_parameters(like.params)
        kind = mesh.devices.flat[0].device_kind
        self.writer.say(
            f"{model.name}: {number:,} parameters; {mesh.size} x {kind}; {self.images_per_step} images a step "
            f"({pipeline.name}); "
            + (f"resuming at step {self.step}" if self.step else "starting")
            + f" of {self.training.num_steps} in {workdir}"
        )

    def run(self) -> FitResult:
        """Train until the end or a reason to stop."""
        training, reason = self.training, ""
        inputs = self.pipeline.batches(self.step)
        self.log_clock, self.log_step = time.perf_counter(), self.step
        first = True
        while self.step < training.num_steps and not reason:
            count = min(training.steps_per_call - self.step % training.steps_per_call, training.num_steps - self.step)
            self.state, history = self.train_step(self.state, self.resident, list(itertools.islice(inputs, count)))
            before, self.step = self.step, self.step + count
            if self.refit is not None and _due(self.refit.every, before, self.step):
                batches = self.batches(self.step, self.refit.num_batches)
                params = jax.device_get(self.state.params)
                params = fit_in_closed_form(self.model, self.refit, params, self.train_key, batches)
                self.state = self.state._replace(params=replicate(self.mesh, params))
            self.pending.extend(history)
            if len(self.pending) > 2 * len(history):  # never more than two calls ahead of the device
                jax.block_until_ready(self.pending[-2 * len(history) - 1]["loss"])
            if first:  # compilation does not count as speed
                jax.block_until_ready(history[-1]["loss"])
                self.log_clock, self.log_step, first = time.perf_counter(), self.step, False
            done = self.step >= training.num_steps
            logs = done or _due(training.log_every, before, self.step)
            reason = self.stop.reason(now=logs)
            if logs or reason:
                self.log()
            elif len(self.pending) >= 1000:
                self.fetch()
            metrics = None
            if (
                self.evaluate
                and not reason
                and (done or _due(training.evaluate_every, self.last_evaluation, self.step))
            ):
                metrics = self.validate()
            if done or reason or _due(training.checkpoint_every, before, self.step) or self.is_best(metrics):
                self.save(metrics)
        self.checkpoints.wait()
        finished = self.step >= training.num_steps
        if not finished:
            self.writer.say(
                f"stopped at step {self.step} of {training.num_steps} ({reason}) and saved: the same command resumes."
            )
        return FitResult(self.state, self.step, finished, *self.watch.read(), self.checkpoints)

    def batches(self, start_step: int, number: int) -> list[Batch]:
        """The batches of consecutive steps on the host, outside the stream of training."""
        return batches_at(self.pipeline, self.resident, self.mesh, start_step, number, self.train_key, self.transform)

    def fetch(self) -> None:
        """Bring pending metrics to the host; stop training if too many steps in a row were not finite."""
        for metrics in jax.device_get(list(self.pending)):
            self.rows.append({name: np.atleast_1d(value) for name, value in metrics.items()})
        self.pending.clear()
        worst = max((int(row["num_skipped_in_a_row"].max()) for row in self.rows), default=0)
        if worst >= self.training.max_nonfinite_steps > 0:
            self.checkpoints.wait()
            self.raise_diverged()

    def raise_diverged(self) -> None:
        """Say where it happened and what is left."""
        in_a_row = np.concatenate([row["num_skipped_in_a_row"] for row in self.rows])
        end = int(np.argmax(in_a_row >= self.training.max_nonfinite_steps))
        last = self.step - len(in_a_row) + end
        first = last - int(in_a_row[end]) + 1
        saved = self.checkpoints.steps()
        good = self.checkpoints.directory / str(saved[-1]) if saved else "none"
        raise TrainingDiverged(
            f"loss or gradient not finite in steps {first} to {last} (from 0; batch seed {self.training.seed}); "
            f"parameters are as before step {first}, last good checkpoint: {good}. "
            "Lower --config.optimizer.learning_rate or set --config.optimizer.clip_norm, with another --workdir."
        )

    def log(self) -> None:
        """Write the means since the last log."""
        self.fetch()
        if not self.rows:
            return
        columns = {name: np.concatenate([row[name] for row in self.rows]) for name in self.rows[0]}
        self.rows.clear()
        last = ("learning_rate", "num_skipped", "num_skipped_in_a_row")
        values = {name: float(column[-1]) if name in last else _finite_mean(column) for name, column in columns.items()}
        seconds = time.perf_counter() - self.log_clock
        rate = (self.step - self.log_step) * self.images_per_step / seconds if self.step > self.log_step else 0.0
        self.writer.write(self.step, "train", values, examples_per_second=rate)
        self.writer.progress(self.step, values, rate)
        self.log_clock, self.log_step = time.perf_counter(), self.step

    def validate(self) -> dict[str, float]:
        """Evaluate the current state; its time does not count as training."""
        assert self.evaluate is not None
        self.fetch()
        self.watch.pause()
        start = time.perf_counter()
        metrics = {name: float(value) for name, value in self.evaluate(self.state, self.step).items()}
        self.watch.resume()
        self.log_clock += time.perf_counter() - start
        self.last_evaluation = self.step
        self.writer.write(self.step, "validation", metrics)
        self.writer.say(f"step {self.step} validation  " + "  ".join(f"{k} {v:.4g}" for k, v in metrics.items()))
        return metrics

    def is_best(self, metrics: dict[str, float] | None) -> bool:
        """Whether to save a checkpoint because of its metrics."""
        return metrics is not None and self.checkpoints.is_best(metrics)

    def save(self, metrics: dict[str, float] | None) -> None:
        """Start saving; the state is known to be good."""
        self.fetch()
        wall, cpu = self.watch.read()
        meta = {
            "config": json.loads(to_json(self.config)),
            "image_shape": list(self.model.image_shape),
            "wall_seconds": wall,
            "cpu_seconds": cpu,
            "last_evaluation": self.last_evaluation,
        }
        self.checkpoints.save(self.state, meta, metrics)


def _due(every: int, before: int, step: int) -> bool:
    return every > 0 and step // every > before // every


def _finite_mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean(dtype=np.float64)) if finite.size else float("nan")

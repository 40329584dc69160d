"""The loop of training: step, log, validate, save, stop."""

import itertools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from exflow.config import to_json
from exflow.training.checkpoint import Checkpoints
from exflow.training.history import History
from exflow.training.initialization import fit_in_closed_form, refit_of
from exflow.training.metrics import Stopwatch
from exflow.training.setup import Run
from exflow.training.sharding import replicate
from exflow.training.state import TrainState

Validate = Callable[[TrainState, int], dict[str, float]]  # (state, step) -> validation metrics


class FitResult(NamedTuple):
    """How training ended."""

    state: TrainState  # on the devices of the mesh
    step: int
    finished: bool  # False: stopped early, to be resumed
    reason: str  # why it stopped early: "SIGINT", "SIGTERM", "time budget used up", "another host stops"; or ""
    wall_seconds: float  # spent training, over all runs in this working directory, validation not counted
    cpu_seconds: float  # the same in CPU time of the first host
    checkpoints: Checkpoints


def fit(run: Run, validate: Validate | None = None) -> FitResult:
    """Train until the end or a reason to stop.

    Killed at any moment and set up again, training ends with the same parameters bit for bit on the same machine.
    SIGTERM, Ctrl-C and the time budget finish the current call, save and return with `finished` False.

    Args:
      run: From `exflow.training.setup.set_up`.
      validate: Called every `training.evaluate_every` steps and at the end; its time does not count as training.

    Raises:
      TrainingDiverged: `training.max_nonfinite_steps` steps in a row were not finite.
    """
    training, history = run.config.training, History(run)
    refit = refit_of(run.inputs.model, training.only_groups)
    state, step, last_validation = run.state, run.step, run.meta.get("last_evaluation", 0)
    watch = Stopwatch(run.meta.get("wall_seconds", 0.0), run.meta.get("cpu_seconds", 0.0))
    inputs, reason = run.inputs.pipeline.batches(step), ""
    while step < training.num_steps and not reason:
        count = min(training.steps_per_call - step % training.steps_per_call, training.num_steps - step)
        count = int(min(count, run.train_step.steps_until_next_program(step)))
        program, metrics = run.train_step.at(step), []
        for placed in run.train_step.place(list(itertools.islice(inputs, count))):
            state, step_metrics = program(state, run.resident, placed)
            metrics.append(step_metrics)
        before, step = step, step + count
        if refit is not None and _due(refit.every, before, step):
            batches = run.batches(step, refit.num_batches)
            params = fit_in_closed_form(run.inputs.model, refit, jax.device_get(state.params), run.key, batches)
            state = state._replace(params=replicate(run.inputs.mesh, params))
        history.add(metrics, count)
        done = step >= training.num_steps
        logs = done or _due(training.log_every, before, step)
        reason = run.stop.reason(now=logs)
        if logs or reason:
            history.log()
        scores = None
        due = training.evaluate_every and (done or _due(training.evaluate_every, last_validation, step))
        if validate and due and not reason:
            history.fetch()
            with watch.paused(), history.paused():
                scores = {name: float(value) for name, value in validate(state, step).items()}
            last_validation = step
            run.writer.write(step, "validation", scores)
            run.writer.say(f"step {step} validation  " + "  ".join(f"{k} {v:.4g}" for k, v in scores.items()))
        is_best = scores is not None and run.checkpoints.is_best(scores)
        if done or reason or is_best or _due(training.checkpoint_every, before, step):
            history.fetch()
            run.checkpoints.save(state, _meta(run, watch, last_validation), scores)
    run.checkpoints.wait()
    finished = step >= training.num_steps
    if not finished:
        run.writer.say(
            f"stopped at step {step} of {training.num_steps} ({reason}) and saved: the same command resumes."
        )
    return FitResult(state, step, finished, "" if finished else reason, *watch.read(), run.checkpoints)


def _due(every: int, before: int, step: int) -> bool:
    return every > 0 and step // every > before // every


def _meta(run: Run, watch: Stopwatch, last_validation: int) -> dict[str, Any]:
    """What is kept with a checkpoint beside the state."""
    wall, cpu = watch.read()
    return {
        "config": json.loads(to_json(run.config)),
        "image_shape": list(run.inputs.model.image_shape),
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "last_evaluation": last_validation,
    }

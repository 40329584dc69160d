"""All that a run of training is made of, built in one place: a claimed directory, a compiled step, a first state."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from exflow.errors import UserError
from exflow.models.registry import num_parameters
from exflow.training.checkpoint import Checkpoints
from exflow.training.full_disk import told_once
from exflow.training.hosts import on_first_host
from exflow.training.initialization import batches_at, fit_in_closed_form, fit_to_images, initial_params, refit_of
from exflow.training.inputs import Inputs, load_inputs
from exflow.training.metrics import MetricsWriter
from exflow.training.optimizer import make_optimizer
from exflow.training.sharding import replicate
from exflow.training.state import TrainState
from exflow.training.step import TrainStep, init_train_state, make_train_step
from exflow.training.stopping import StopRequest, caught_signals
from exflow.training.workdir import locked_workdir, store_config
from exflow.typing import Batch, Params, PRNGKey

WarmStart = Callable[[Params], Params]  # initial parameters -> those to start from, of the same structure and shapes


class Run(NamedTuple):
    """A run of training that is ready to go."""

    config: ConfigDict
    workdir: Path
    inputs: Inputs
    resident: Any  # arrays of the pipeline, on the devices
    key: PRNGKey  # of training; not folded with the step
    train_step: TrainStep
    state: TrainState  # initial or restored, on the devices
    meta: dict[str, Any]  # of the checkpoint that the state is from; {} without one
    images_per_step: int
    checkpoints: Checkpoints
    writer: MetricsWriter
    stop: StopRequest

    @property
    def step(self) -> int:
        """Number of steps that the state has behind it."""
        return int(self.meta.get("step", 0))

    def batches(self, start_step: int, number: int) -> list[Batch]:
        """The batches of consecutive steps on the host, outside the stream of training."""
        inputs = self.inputs
        return batches_at(inputs.pipeline, self.resident, inputs.mesh, start_step, number, self.key, inputs.transform)


@contextmanager
def set_up(
    config: ConfigDict, workdir: Path, warm_start: WarmStart | None = None, inputs: Inputs | None = None
) -> Iterator[Run]:
    """Prepare a run, resuming from the newest good checkpoint in `workdir` if there is one.

    While the context is open no other run can use the directory, and SIGTERM and Ctrl-C become requests to stop.

    Args:
      config: Complete configuration.
      workdir: Receives config.json, checkpoints/, metrics.jsonl and tensorboard/.
      warm_start: Given to a run that starts anew; such a run is not fitted to data before its first step.
      inputs: What to train and with what; default: what the configuration says.

    Yields:
      The run.

    Raises:
      UserError: The data cannot be had or does not fit the configuration, the devices or the directory; or the
        directory cannot be used, or is in use.
    """
    if config.training.init_from and warm_start is None:
        raise UserError("config.training.init_from: is for --mode=finetune. Use that mode, or leave the key empty.")
    workdir, inputs = Path(workdir), inputs or load_inputs(config)
    training, stop = config.training, StopRequest(float(config.training.time_budget_seconds), time.monotonic())
    with ExitStack() as stack:
        stack.enter_context(told_once())
        checkpoints = Checkpoints(
            workdir / "checkpoints",
            keep=training.keep_checkpoints,
            best_metric=training.best_metric,
            best_mode=training.best_mode,
        )

        def claim() -> None:
            stack.enter_context(locked_workdir(workdir))
            store_config(config, workdir, step=max(checkpoints.steps(), default=0))

        on_first_host(claim)
        stack.enter_context(caught_signals(stop))
        stack.callback(checkpoints.close)
        run = _start(config, workdir, inputs, warm_start, checkpoints, stop)
        stack.callback(run.writer.close)
        yield run


def _start(
    config: ConfigDict,
    workdir: Path,
    inputs: Inputs,
    warm_start: WarmStart | None,
    checkpoints: Checkpoints,
    stop: StopRequest,
) -> Run:
    """Compile the step, restore or initialise the state, open the files and say so."""
    model, pipeline, mesh, ema_decay = inputs.model, inputs.pipeline, inputs.mesh, config.optimizer.ema_decay
    num_steps, refit = config.training.num_steps, refit_of(model, config.training.only_groups)
    optimizer, schedule = make_optimizer(config.optimizer, num_steps, model.group_of)
    init_key, key = jax.random.split(jax.random.key(config.training.seed))
    resident = replicate(mesh, pipeline.resident)
    train_step = make_train_step(
        model,
        optimizer,
        schedule,
        pipeline.materialize,
        key,
        mesh,
        ema_decay,
        inputs.transform,
        only_groups=config.training.only_groups,
    )

    def batches(number: int) -> list[Batch]:
        return batches_at(pipeline, resident, mesh, 0, number, key, inputs.transform)

    def new_state(params: Params) -> TrainState:
        return init_train_state(optimizer, params, ema_decay, mesh)

    (batch,) = batches(1)
    like = jax.eval_shape(lambda batch: new_state(model.init(init_key, batch)), batch)
    restored = checkpoints.restore(like)
    if restored is not None:
        state, meta = replicate(mesh, restored[0]), restored[1]
    else:
        params, meta = initial_params(model, init_key, batch), {}
        if warm_start is not None:
            params = warm_start(params)
        else:
            if model.fit_images is not None:
                images = inputs.image_sets["train"].images
                params = fit_to_images(model, params, images, config.data.downscale)
            if refit is not None and refit.at_start:
                params = fit_in_closed_form(model, refit, params, key, batches(refit.num_batches))
        state = new_state(replicate(mesh, params))
    step = int(meta.get("step", 0))
    writer = MetricsWriter(workdir, step, num_steps, active=jax.process_index() == 0)
    writer.say(
        f"{model.name}: {num_parameters(like.params):,} parameters; {mesh.size} x {mesh.devices.flat[0].device_kind}; "
        f"{batch.mask.size} images a step ({pipeline.name}); "
        + (f"resuming at step {step}" if step else "starting")
        + f" of {num_steps} in {workdir}"
    )
    return Run(
        config, workdir, inputs, resident, key, train_step, state, meta, batch.mask.size, checkpoints, writer, stop
    )

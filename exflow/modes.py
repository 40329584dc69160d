"""The modes of the command line, from a configuration to files in a working directory."""

from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict

from exflow import evaluation, finetuning
from exflow.evaluation.pictures.sample_files import write_samples
from exflow.evaluation.registry import check_best_metric
from exflow.training.devices import configure_devices
from exflow.training.inputs import build_model, load_data
from exflow.training.loop import FitResult, Validate, fit
from exflow.training.parameters import load_params
from exflow.training.setup import Run, set_up
from exflow.training.state import TrainState, evaluation_params


def train_and_evaluate(config: ConfigDict, workdir: Path) -> None:
    """Train, or go on training; evaluate when training is complete."""
    with set_up(config, workdir) as run:
        result = fit(run, validation(run))
    if result.finished:
        evaluate(config, workdir)


def train(config: ConfigDict, workdir: Path) -> FitResult:
    """Train the configured model, resuming what is there."""
    with set_up(config, workdir) as run:
        return fit(run, validation(run))


def finetune(config: ConfigDict, workdir: Path) -> None:
    """Start from the parameters that `config.training.init_from` names, train and evaluate; the same command resumes.

    The optimizer starts anew (the published fine-tuning goes on with the averages of its generative run).
    """
    with set_up(config, workdir, warm_start=finetuning.starting_point(config)) as run:
        result = fit(run, validation(run))
    if result.finished:
        evaluate(config, workdir)


def evaluate(config: ConfigDict, workdir: Path) -> None:
    """Evaluate the best checkpoint (the latest where none was validated): `results.json`, samples, closing table."""
    configure_devices(config)
    image_sets = load_data(config)
    model = build_model(config, image_sets)
    params, meta = load_params(config, Path(workdir), model)
    info = {"training_seconds": meta["wall_seconds"], "training_cpu_seconds": meta["cpu_seconds"]}
    evaluation.evaluate(config, Path(workdir), model, params, meta["step"], image_sets, info=info)


def sample(config: ConfigDict, workdir: Path) -> None:
    """Draw samples from the best checkpoint into `samples/`."""
    configure_devices(config)
    image_sets = load_data(config)
    model = build_model(config, image_sets)
    params, _ = load_params(config, Path(workdir), model)
    write_samples(config, Path(workdir), model, params, image_sets["test"])


MODES: dict[str, Callable[[ConfigDict, Path], object]] = {
    "train_and_evaluate": train_and_evaluate,
    "train": train,
    "evaluate": evaluate,
    "sample": sample,
    "finetune": finetune,
}


def validation(run: Run) -> Validate:
    """How a run is validated: with the parameters that its evaluation will take.

    Raises:
      UserError: Validation gives no such metric as the one that chooses the best checkpoint.
    """
    check_best_metric(run.config, run.inputs.model)

    def validate(state: TrainState, step: int) -> dict[str, float]:
        del step
        config = run.config
        params = evaluation_params(state) if config.evaluation.use_ema else state.params
        return evaluation.validate(config, run.inputs.model, params, run.inputs.image_sets["validation"])

    return validate

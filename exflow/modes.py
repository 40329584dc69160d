"""The modes of the command line, from a configuration to files in a working directory."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from exflow import evaluation, finetuning, loading
from exflow.data.registry import ImageSets
from exflow.evaluation.code_passes import codes_of_images
from exflow.evaluation.encoding import downscaling
from exflow.evaluation.pictures.code_pictures import CodeGallery, draw_edits, draw_interpolations, write_code_pictures
from exflow.evaluation.pictures.imputations import write_imputations
from exflow.evaluation.pictures.sample_files import write_samples
from exflow.evaluation.placement import replicate
from exflow.evaluation.registry import check_best_metric
from exflow.evaluation.results import check_writable
from exflow.model import FittedCodes, Model, TrainingCodes
from exflow.training.checkpoint_format import list_steps
from exflow.training.devices import compilation, configure_devices
from exflow.training.fitted import fitted_codes
from exflow.training.hosts import on_first_host
from exflow.training.inputs import build_model, load_data
from exflow.training.loop import FitResult, Validate, fit
from exflow.training.parameters import load_params
from exflow.training.setup import Run, set_up
from exflow.training.state import TrainState, evaluation_params
from exflow.typing import Params


def train_and_evaluate(config: ConfigDict, workdir: Path) -> None:
    """Train, or go on training; evaluate when training is complete."""
    with compilation(config), set_up(config, workdir) as run:
        result = fit(run, validation(run))
    if _finished(result):
        evaluate(config, workdir)


def train(config: ConfigDict, workdir: Path) -> FitResult:
    """Train the configured model, resuming what is there."""
    with compilation(config), set_up(config, workdir) as run:
        result = fit(run, validation(run))
    _finished(result)
    return result


def finetune(config: ConfigDict, workdir: Path) -> None:
    """Start from the parameters that `config.training.init_from` names, train and evaluate; the same command resumes.

    The optimizer starts anew (the published fine-tuning goes on with the averages of its generative run).
    """
    with compilation(config), set_up(config, workdir, finetuning.starting_point(config)) as run:
        result = fit(run, validation(run))
    if _finished(result):
        evaluate(config, workdir)


def _finished(result: FitResult) -> bool:
    """Whether training is complete.

    Raises:
      KeyboardInterrupt: Ctrl-C ended training; all is saved. What is around this program should not go on.
    """
    if result.reason == signal.SIGINT.name:
        raise KeyboardInterrupt
    return result.finished


def evaluate(config: ConfigDict, workdir: Path) -> None:
    """Evaluate the best checkpoint (the latest where none was validated): `results.json`, samples, closing table."""
    on_first_host(lambda: check_writable(Path(workdir), "--workdir"))
    with compilation(config):
        trained = _trained(config, workdir)
        evaluation.evaluate(
            config,
            Path(workdir),
            trained.model,
            trained.params,
            trained.step,
            trained.image_sets,
            info=trained.info,
            fitted=trained.fitted,
        )


def sample(config: ConfigDict, workdir: Path) -> None:
    """Draw samples from the best checkpoint into `samples/`."""
    on_first_host(lambda: check_writable(Path(workdir), "--workdir"))
    with compilation(config):
        trained = _trained(config, workdir)
        test = trained.image_sets["test"]
        write_samples(config, Path(workdir), trained.model, trained.params, test, fitted=trained.fitted)


def impute(config: ConfigDict, workdir: Path) -> None:
    """Impute what masks hide of test images with the best checkpoint, into `samples/imputations.png`."""
    on_first_host(lambda: check_writable(Path(workdir), "--workdir"))
    with compilation(config):
        trained = _trained(config, workdir)
        write_imputations(config, Path(workdir), trained.model, trained.params, trained.image_sets["test"])


def interpolate(config: ConfigDict, workdir: Path) -> None:
    """Draw ways between test images by their codes, into `samples/interpolations.png`."""
    _draw_codes(config, workdir, draw_interpolations)


def edit(config: ConfigDict, workdir: Path) -> None:
    """Give test images an attribute, or remove it, into `samples/edits_<attribute>.png`."""
    _draw_codes(config, workdir, draw_edits)


def _draw_codes(config: ConfigDict, workdir: Path, draw: Callable[[CodeGallery], Path]) -> None:
    on_first_host(lambda: check_writable(Path(workdir), "--workdir"))
    with compilation(config):
        trained = _trained(config, workdir)
        test, params = trained.image_sets["test"], replicate(trained.params)
        write_code_pictures(config, workdir, trained.model, params, test, None, trained.fitted, draw=(draw,))


MODES: dict[str, Callable[[ConfigDict, Path], object]] = {
    "train_and_evaluate": train_and_evaluate,
    "train": train,
    "evaluate": evaluate,
    "sample": sample,
    "impute": impute,
    "interpolate": interpolate,
    "edit": edit,
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


class _Trained(NamedTuple):
    """The best checkpoint of a run, or where there is none the bundled model that its command made; with its data."""

    model: Model
    params: Params
    step: int
    info: dict[str, Any]  # how long training took, or which bundled model it is
    image_sets: dict[str, ImageSets]
    fitted: FittedCodes | None  # what the sampler of the model is fitted to


def _trained(config: ConfigDict, workdir: Path) -> _Trained:
    configure_devices(config)
    image_sets = load_data(config)
    model = build_model(config, image_sets)
    bundled = None if list_steps(Path(workdir) / "checkpoints") else loading.bundled_from(config)
    if bundled is not None:
        print(f"no checkpoint in {workdir}: taking the model that comes with exflow, {bundled}")
        found = loading.find(bundled)
        finetuning.check_same_model(config, found.config, bundled)
        return _Trained(model, found.params, found.info["step"], {"bundled": bundled}, image_sets, found.fitted)
    params, meta = load_params(config, Path(workdir), model)

    def encode() -> TrainingCodes:
        transform, split = downscaling(config.data.downscale), image_sets["train"]
        images = split.images if transform is None else transform(split.images)
        title = "encoding train images"
        codes = codes_of_images(model, replicate(params), images, config.evaluation.batch_size, title)
        attributes = np.zeros((len(codes), 0), np.uint8) if split.attributes is None else split.attributes
        return TrainingCodes(codes, split.labels, attributes, split.attribute_names)

    step = meta["step"]
    info = {"training_seconds": meta["wall_seconds"], "training_cpu_seconds": meta["cpu_seconds"]}
    return _Trained(model, params, step, info, image_sets, fitted_codes(workdir, model, params, step, encode))

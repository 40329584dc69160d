"""The modes of the command line, from a configuration to files in a working directory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from exflow.data import datasets
from exflow.data.pipelines.augment import downscale, random_affine
from exflow.data.pipelines.episodes import EpisodeSpec, Pipeline, make_pipeline
from exflow.data.registry import ImageSets
from exflow.errors import UserError
from exflow.evaluation import evaluator
from exflow.evaluation.encoding import known_context
from exflow.evaluation.pictures.sample_files import write_samples
from exflow.model import Model
from exflow.models import registry
from exflow.training.checkpoint import Checkpoints
from exflow.training.devices import configure_devices
from exflow.training.loop import FitResult, fit
from exflow.training.state import TrainState, evaluation_params
from exflow.typing import Batch, Params, PRNGKey


def train_and_evaluate(config: ConfigDict, workdir: Path) -> None:
    """Train, or go on training; evaluate when training is complete."""
    if train(config, workdir).finished:
        evaluate(config, workdir)


def train(config: ConfigDict, workdir: Path, warm_start: Callable[[Params], Params] | None = None) -> FitResult:
    """Train the configured model in `workdir`, resuming what is there.

    Args:
      config: Complete configuration.
      workdir: Working directory.
      warm_start: Takes the initial parameters and returns those to start from.

    Raises:
      UserError: The data cannot be had, or does not fit the configuration, the devices or the directory.
    """
    if config.training.init_from and warm_start is None:
        raise UserError("config.training.init_from: is for --mode=finetune. Use that mode, or leave the key empty.")
    mesh = configure_devices(config)
    image_sets = load_data(config)
    model = build_model(config, image_sets)
    refit = None if model.process is None else model.process.refit

    def validate(state: TrainState, step: int) -> dict[str, float]:
        del step
        params = evaluation_params(state) if config.evaluation.use_ema else state.params
        return evaluator.validate(config, model, params, image_sets["validation"])

    return fit(
        config,
        workdir,
        model,
        build_pipeline(config, image_sets["train"]),
        evaluate=validate,
        transform=build_transform(config),
        mesh=mesh,
        warm_start=warm_start,
        refit=refit,
    )


def evaluate(config: ConfigDict, workdir: Path) -> None:
    """Evaluate the best checkpoint (the latest where none was validated): `results.json`, samples, closing table."""
    configure_devices(config)
    image_sets = load_data(config)
    model = build_model(config, image_sets)
    params, meta = load_params(config, Path(workdir), model)
    info = {"training_seconds": meta["wall_seconds"], "training_cpu_seconds": meta["cpu_seconds"]}
    evaluator.evaluate(config, Path(workdir), model, params, meta["step"], image_sets, info=info)


def sample(config: ConfigDict, workdir: Path) -> None:
    """Draw samples from the best checkpoint into `samples/`."""
    configure_devices(config)
    image_sets = load_data(config)
    model = build_model(config, image_sets)
    params, _ = load_params(config, Path(workdir), model)
    write_samples(config, Path(workdir), model, params, image_sets["test"])


def load_data(config: ConfigDict) -> dict[str, ImageSets]:
    """Arrays of "train", "validation" and "test"."""
    data = config.data
    options = datasets.parse_options(data.dataset, data.options)
    return datasets.load(data.dataset, image_size=data.image_size, resize=data.resize, split=data.split, **options)


def build_model(config: ConfigDict, image_sets: dict[str, ImageSets]) -> Model:
    """The configured model for the images of a data set, as it sees them.

    Raises:
      UserError: The model needs contexts that the data set lacks, or the images cannot be reduced.
    """
    height, width, channels = image_sets["train"].images.shape[1:]
    factor = config.data.downscale
    if height % factor or width % factor:
        raise UserError(
            f"config.data.downscale: {factor} does not divide the {height}x{width} of {image_sets['train'].name}. "
            "Set --config.data.downscale=1."
        )
    model = registry.build(config, (height // factor, width // factor, channels))
    known_context(model, image_sets["train"])
    return model


def build_pipeline(config: ConfigDict, image_sets: ImageSets) -> Pipeline:
    """Batches of training sets."""
    data = config.data
    spec = EpisodeSpec(
        data.sets_per_batch,
        data.set_size,
        data.rotate,
        data.distinct,
        data.min_set_size or None,
        data.distinct_rotations,
    )
    return make_pipeline(
        data.pipeline, image_sets, spec, config.training.seed, jax.process_index(), jax.process_count()
    )


def build_transform(config: ConfigDict) -> Callable[[PRNGKey, Batch, Any], Batch]:
    """What happens to a training batch inside the compiled step: warps per set and per image, size, outliers."""
    data = config.data

    def transform(key: PRNGKey, batch: Batch, step: Any) -> Batch:
        set_key, image_key = jax.random.split(key)
        x_set = batch.x_set
        if data.augment_set.probability > 0:
            x_set = random_affine(set_key, x_set, per_set=True, **data.augment_set)
        if data.augment.probability > 0:
            x_set = random_affine(image_key, x_set, **data.augment)
        if data.downscale > 1:
            x_set = downscale(x_set, data.downscale)
        if data.outlier_every > 0:
            last = jnp.arange(data.set_size)[None] == batch.mask.sum(axis=1, keepdims=True) - 1
            spoiled = last & ((step + 1) % data.outlier_every == 0)
            x_set = jnp.where(spoiled[..., None, None, None], jnp.uint8(255), x_set)
        return batch._replace(x_set=x_set)

    return transform


def load_params(config: ConfigDict, workdir: Path, model: Model) -> tuple[Params, dict[str, Any]]:
    """Parameters of the best checkpoint, else the latest, to evaluate with; nothing is changed on disk.

    Args:
      config: Complete configuration.
      workdir: Working directory of a run, which may be going on.
      model: Model of the configuration.

    Returns:
      Parameters as numpy arrays, and the checkpoint's meta data.

    Raises:
      UserError: No good checkpoint, or it does not fit the configuration.
    """
    training = config.training
    checkpoints = Checkpoints(
        workdir / "checkpoints", best_metric=training.best_metric, best_mode=training.best_mode, read_only=True
    )
    group = "ema_params" if config.optimizer.ema_decay > 0 and config.evaluation.use_ema else "params"
    found = checkpoints.restore({group: registry.params_like(model, config)}, "best")
    if found is None:
        raise UserError(f"{workdir}: no readable checkpoint. Train first: --mode=train with this --workdir.")
    return found[0][group], found[1]

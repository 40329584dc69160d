"""The modes of the command line, from a configuration to files in a working directory."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from exflow.data import datasets
from exflow.data.episodes import EpisodeSpec, Pipeline, make_pipeline
from exflow.data.registry import ImageSets
from exflow.models import registry
from exflow.training.devices import configure_devices
from exflow.training.trainer import Evaluate, FitResult, fit
from exflow.typing import Batch, PRNGKey, SetModel


class Experiment(NamedTuple):
    """What a configuration stands for."""

    model: SetModel
    image_sets: dict[str, ImageSets]  # "train", "validation" and "test"
    pipeline: Pipeline  # of training batches
    transform: Callable[[PRNGKey, Batch], Batch] | None  # augmentation inside the compiled step
    devices: list[jax.Device]


def build_experiment(config: ConfigDict) -> Experiment:
    """Load the data and build what the configuration describes; nothing is computed yet.

    Raises:
      UserError: The data cannot be had, or does not fit the configuration or the devices.
    """
    devices = configure_devices(config)
    data = config.data
    image_sets = datasets.load(data.dataset, image_size=data.image_size, resize=data.resize, split=data.split)
    spec = EpisodeSpec(data.sets_per_batch, data.set_size, data.rotate, data.distinct, data.min_set_size or None)
    pipeline = make_pipeline(
        data.pipeline, image_sets["train"], spec, config.training.seed, jax.process_index(), jax.process_count()
    )
    height, width, channels = image_sets["train"].images.shape[1:]
    model = registry.build(config, (height // data.downscale, width // data.downscale, channels))
    return Experiment(model, image_sets, pipeline, None, devices)


def train(config: ConfigDict, workdir: Path, evaluate: Evaluate | None = None) -> FitResult:
    """Train the configured model in `workdir`, resuming what is there."""
    experiment = build_experiment(config)
    empirical = config.model.process_init == "empirical"
    return fit(
        config,
        workdir,
        experiment.model,
        experiment.pipeline,
        evaluate=evaluate,
        transform=experiment.transform,
        devices=experiment.devices,
        init_batches=config.model.process_init_batches if empirical else 1,
    )

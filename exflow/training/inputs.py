"""What a configuration trains with: its data, its model, its batches and what happens to them inside the step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from exflow.data import datasets
from exflow.data.contexts import known_context
from exflow.data.pipelines.augment import downscale, random_affine
from exflow.data.pipelines.build import make_pipeline
from exflow.data.pipelines.spec import EpisodeSpec, ImageSpec, Pipeline
from exflow.data.registry import ImageSets
from exflow.errors import UserError
from exflow.model import Model
from exflow.models import registry
from exflow.training.devices import configure_devices
from exflow.training.step import Transform
from exflow.typing import Batch, PRNGKey


class Inputs(NamedTuple):
    """All that training needs besides its configuration and its working directory."""

    mesh: Mesh
    model: Model
    pipeline: Pipeline
    transform: Transform | None  # of training batches, inside the compiled step
    image_sets: dict[str, ImageSets]  # "train", "validation" and "test"


def load_inputs(config: ConfigDict) -> Inputs:
    """Devices, data, model and batches of a configuration.

    Raises:
      UserError: The data cannot be had, or does not fit the configuration or the devices.
    """
    mesh = configure_devices(config)
    image_sets = load_data(config)
    model = build_model(config, image_sets)
    return Inputs(mesh, model, build_pipeline(config, image_sets["train"]), build_transform(config), image_sets)


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
    known_context(image_sets["train"], model.context_dim)
    return model


def build_pipeline(config: ConfigDict, image_sets: ImageSets) -> Pipeline:
    """Batches of training sets, or of single images."""
    data = config.data
    if data.batches == "images":
        spec = ImageSpec(data.sets_per_batch)
    else:
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


def build_transform(config: ConfigDict) -> Transform:
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

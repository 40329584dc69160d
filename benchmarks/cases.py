"""The models and data that several benchmarks measure; the data are random, since speed does not depend on them."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from exflow.config import load_config
from exflow.data.registry import ImageSets, group_by_class
from exflow.model import Model
from exflow.models import registry
from exflow.typing import Batch, Params, PRNGKey

TINY = {  # changes that make any model quick to compile; "full" or "small" no longer mean anything
    "model.bruno.scales": 1,
    "model.bruno.filters": 4,
    "model.bruno.residual_blocks": 2,
    "model.bruno.dense_units": 8,
    "model.bruno.dense_couplings": 1,
    "data.sets_per_batch": 4,
    "data.set_size": 6,
}
ALWAYS = {"training.compilation_cache": False}
COLOURED = ("cifar10", "celeba_faces")  # data sets of three channels


def configuration(spec: str, overrides: dict[str, Any] | None = None) -> ConfigDict:
    """A bundled configuration such as "bruno_omniglot:cpu" with dotted keys changed."""
    changes = ALWAYS | (overrides or {})
    return load_config(spec, [(key, str(value)) for key, value in changes.items()])


def build_model(config: ConfigDict) -> Model:
    """The model of the configuration, for images of one channel, or three if those of its data set have as many."""
    size = config.data.image_size // config.data.downscale
    return registry.build(config, (size, size, 3 if config.data.dataset in COLOURED else 1))


def loss_with_aux(model: Model) -> Callable[[Params, PRNGKey, Batch], tuple[Any, Any]]:
    """The loss as JAX differentiates it: (params, key, batch) -> value, (metrics, statistics)."""

    def loss(params: Params, key: PRNGKey, batch: Batch) -> tuple[Any, Any]:
        found = model.loss(params, key, batch)
        return found.value, (found.metrics, found.statistics)

    return loss


def random_batch(num_sets: int, set_size: int, image_shape: tuple[int, int, int]) -> Batch:
    """A training batch of random pixels, as NumPy arrays."""
    x_set = np.random.default_rng(0).integers(0, 256, (num_sets, set_size, *image_shape), np.uint8)
    return Batch(x_set, np.ones((num_sets, set_size), bool), np.arange(num_sets, dtype=np.int32))


def given(resident: tuple, batch: Batch) -> Batch:
    """The `materialize` of a pipeline that delivers the batch itself."""
    del resident
    return batch


def random_params(model: Model, batch: Batch) -> Params:
    """Small random numbers in the shapes of the model's parameters, without the time its initialisation takes."""
    rng, shapes = np.random.default_rng(0), jax.eval_shape(model.init, jax.random.key(0), batch)
    return jax.tree.map(lambda leaf: rng.normal(0, 0.05, leaf.shape).astype(leaf.dtype), shapes)


def random_image_sets(num_classes: int, per_class: int = 20, size: int = 28) -> ImageSets:
    """A data set of random pixels; Omniglot has 1,028 training and 423 test classes of 20 images."""
    images = np.random.default_rng(0).integers(0, 256, (num_classes * per_class, size, size, 1), np.uint8)
    return group_by_class(images, np.repeat(np.arange(num_classes, dtype=np.int32), per_class), "random")

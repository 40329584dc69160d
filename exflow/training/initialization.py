"""Parameters before the first step: initialised on the first batch, and what has a closed form fitted on several."""

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from exflow.data.pipelines.augment import downscale
from exflow.data.registry import Images
from exflow.model import Model, Refit
from exflow.training.hosts import broadcast_tree
from exflow.training.sharding import place_inputs, replicated
from exflow.training.step import Transform, named_keys
from exflow.typing import Batch, Params, PRNGKey

IMAGES_AT_ONCE = 1000  # that statistics are taken of
STREAM = 0x72656669  # separates the noise of a refit from all other draws made with the same key


def batches_at(
    pipeline: Any,
    resident: Any,
    mesh: Mesh,
    start_step: int,
    num_batches: int,
    key: PRNGKey,
    transform: Transform | None = None,
) -> list[Batch]:
    """The batches of consecutive steps, transformed as in training, as numpy arrays in every host."""

    def prepare(resident: Any, inputs: Any, step: Any) -> Batch:
        batch = pipeline.materialize(resident, inputs)
        return batch if transform is None else transform(named_keys(key, step).transform, batch, step)

    compiled = jax.jit(prepare, out_shardings=replicated(mesh))
    inputs = itertools.islice(pipeline.batches(start_step), num_batches)
    return [
        jax.device_get(compiled(resident, place_inputs(mesh, step_inputs), np.int32(start_step + offset)))
        for offset, step_inputs in enumerate(inputs)
    ]


def initial_params(model: Model, key: PRNGKey, batch: Batch) -> Params:
    """`model.init` as numpy arrays, equal in all hosts."""
    return broadcast_tree(jax.device_get(jax.jit(model.init)(key, batch)))


def fit_to_images(model: Model, params: Params, images: Images, factor: int) -> Params:
    """Set the parameters that are statistics of the training images, each taken once and without augmentation.

    Args:
      model: Its `fit_images` says how; without it nothing happens.
      params: Initial parameters.
      images: Of training; those of a memory-mapped file are read some at a time.
      factor: `config.data.downscale`: the model sees means of so many by so many pixels.

    Returns:
      New parameters as numpy arrays, equal in all hosts.
    """
    if model.fit_images is None:
        return params

    def chunks() -> Iterator[np.ndarray]:
        for start in range(0, len(images), IMAGES_AT_ONCE):
            some = np.asarray(images[start : start + IMAGES_AT_ONCE])
            yield some if factor == 1 else np.asarray(downscale(jnp.asarray(some), factor))

    return broadcast_tree(jax.device_get(model.fit_images(params, chunks())))


def refit_of(model: Model, only_groups: tuple[str, ...] = ()) -> Refit | None:
    """What of a model has a closed form, and when it is fitted; None: nothing, as where only some groups may change."""
    return None if model.process is None or only_groups else model.process.refit


def fit_in_closed_form(model: Model, refit: Refit, params: Params, key: PRNGKey, batches: list[Batch]) -> Params:
    """Set the parameters that have a closed form to their optimum on some batches.

    Batches are encoded one after the other by one compiled call each, because convolutions inside a loop are slow on
    CPU.

    Args:
      model: Encodes the batches.
      refit: What is fitted.
      params: Parameters as numpy arrays, or on one device.
      key: Of the dequantization noise.
      batches: From `batches_at`.

    Returns:
      New parameters as numpy arrays, equal in all hosts.
    """
    encode = jax.jit(model.encode)
    keys = jax.random.split(jax.random.fold_in(key, STREAM), len(batches))
    elements = [
        jax.device_get(encode(params, batch_key, batch.x_set, batch.context))
        for batch_key, batch in zip(keys, batches, strict=True)
    ]
    element_set = jax.tree.map(lambda *leaves: np.concatenate(leaves), *elements)
    mask = np.concatenate([batch.mask for batch in batches])
    return broadcast_tree(jax.device_get(jax.jit(refit.fit)(params, element_set, mask)))

"""How much of an image its binary code keeps, for models with codes."""

import functools

import jax
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from exflow.evaluation import encoding, placement, results
from exflow.evaluation.chunks import in_chunks
from exflow.evaluation.evaluator import Entries, Evaluator, Task
from exflow.evaluation.metrics import detection
from exflow.evaluation.metrics.image_quality import mean_squared_error
from exflow.model import Model, codes_of
from exflow.typing import Params

NAME = "reconstruction_mse"


def metrics(config: ConfigDict, model: Model) -> dict[str, str]:
    """`reconstruction_mse`."""
    del config, model
    return {NAME: "min"}


def validate(task: Task) -> dict[str, float]:
    """The mean squared error, see `evaluate`."""
    return {NAME: float(errors(task).mean())}


def evaluate(task: Task) -> Entries:
    """Mean squared error of images that were encoded and decoded, with its standard error over images."""
    found = errors(task)
    estimate, (height, width, channels) = detection.mean_estimate(found), task.model.image_shape
    protocol = f"images decoded from their codes; {len(found)} {task.split} images, {height}x{width}x{channels}"
    entry = results.result(estimate.value, "(pixel/255)^2", protocol, standard_error=estimate.standard_error)
    return {f"{task.split}_{NAME}": entry}


def errors(task: Task) -> Float[np.ndarray, " images"]:
    """Mean over the pixels of the squared error of every image of a split, pixels in [0, 1]."""
    images = np.asarray(task.image_sets.images)[np.asarray(task.image_sets.index)[task.image_sets.exists]]
    if task.transform is not None:
        images = np.asarray(task.transform(images))
    encoding.check_images(task.model, images)
    run = functools.partial(_reconstruct, task.model, task.params)
    return mean_squared_error(in_chunks(run, (images,), task.config.evaluation.batch_size), images)


@functools.partial(jax.jit, static_argnums=0)
def _reconstruct(model: Model, params: Params, x: Array) -> Array:
    codes = codes_of(model)

    def local(params: Params, x: Array) -> Array:
        return codes.decode(params, codes.encode(params, x))

    return placement.data_parallel(local, 1, 1)(params, x)


RECONSTRUCTION = Evaluator(
    name="reconstruction",
    needs="binary codes of images",
    requires=lambda model: model.codes is not None,
    metrics=metrics,
    validate=validate,
    evaluate=evaluate,
)

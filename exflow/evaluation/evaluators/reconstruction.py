"""How much of an image its code keeps, for models with codes."""

import numpy as np
from ml_collections import ConfigDict

from exflow.evaluation import results
from exflow.evaluation.code_passes import reconstructions
from exflow.evaluation.evaluator import Entries, Evaluator, Task
from exflow.evaluation.metrics import detection
from exflow.evaluation.metrics.image_quality import mean_squared_error, structural_similarity
from exflow.model import Model, codes_of

MSE, LOSS, SSIM = "reconstruction_mse", "reconstruction", "reconstruction_ssim"


def metrics(config: ConfigDict, model: Model) -> dict[str, str]:
    """`reconstruction_mse` and, of models that say what training makes small, `reconstruction`."""
    del config
    return {MSE: "min"} | ({} if codes_of(model).distortion is None else {LOSS: "min"})


def validate(task: Task) -> dict[str, float]:
    """Means over the images, see `evaluate`."""
    images, decoded, distortion = passed(task)
    found = {MSE: float(mean_squared_error(decoded, images).mean()), LOSS: float(distortion.mean())}
    return {name: found[name] for name in metrics(task.config, task.model)}


def evaluate(task: Task) -> Entries:
    """Mean squared error, structural similarity, and what training makes small, with standard errors over images."""
    images, decoded, distortion = passed(task)
    codes, (height, width, channels) = codes_of(task.model), task.model.image_shape
    kind = f"{codes.length} {'bits' if codes.binary else 'numbers'}"
    protocol = f"images decoded from {kind}; {len(images)} {task.split} images, {height}x{width}x{channels}"
    found = {MSE: (mean_squared_error(decoded, images), "(pixel/255)^2")}
    if codes.distortion is not None:
        found[LOSS] = distortion, f"{codes.distortion_unit}/image"
        found[SSIM] = structural_similarity(decoded, images), "SSIM"
    entries = {}
    for name, (values, unit) in found.items():
        estimate = detection.mean_estimate(values)
        entry = results.result(estimate.value, unit, protocol, standard_error=estimate.standard_error)
        entries[f"{task.split}_{name}"] = entry
    return entries


def passed(task: Task) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images of a split, the same encoded and decoded, and what training makes small of each."""
    images = task.images()
    return images, *reconstructions(task.model, task.params, images, task.config.evaluation.batch_size)


RECONSTRUCTION = Evaluator(
    name="reconstruction",
    needs="codes of images",
    requires=lambda model: model.codes is not None,
    metrics=metrics,
    validate=validate,
    evaluate=evaluate,
)

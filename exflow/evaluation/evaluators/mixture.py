"""What the components of a mixture, from which the top latents of images come, have to do with the images' classes.

An image belongs to the component that is most probable given the mean of its posterior. Nothing in training says what
the classes are.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from exflow.core.latents import gaussian_mixture
from exflow.core.latents.elements import EncodedElement
from exflow.core.latents.gaussian_mixture import GaussianMixture
from exflow.evaluation import results
from exflow.evaluation.evaluator import Entries, Evaluator, Task
from exflow.evaluation.metrics import detection
from exflow.evaluation.scoring.latents import of_sets
from exflow.model import LatentFunctions
from exflow.typing import Params


class Components(NamedTuple):
    """Images by component."""

    weights: Float[np.ndarray, " component"]  # mean over images of p(component | top latent)
    entropy: Float[np.ndarray, " images"]  # of p(component | top latent), nats
    component: Int[np.ndarray, " images"]  # the most probable one
    correct: Float[np.ndarray, " images"]  # 1 where the image is of the class that most of its component are of


def evaluate(task: Task) -> Entries:
    """Entries `<split>_mixture_<quantity>`, the accuracy only of data with labels."""
    found, split = components(task), task.split
    number = len(found.weights)
    how = f"{number} components at the means of the top posteriors; {len(found.entropy)} {split} images"

    def entry(values: np.ndarray, unit: str, title: str) -> dict:
        estimate = detection.mean_estimate(values)
        return results.result(estimate.value, unit, f"{title}; {how}", standard_error=estimate.standard_error)

    entries = {
        f"{split}_mixture_entropy": entry(
            found.entropy, "nats", f"entropy of p(component | top latent), at most ln {number}"
        ),
        f"{split}_mixture_used": results.result(
            float(np.exp(-(found.weights * np.log(np.maximum(found.weights, 1e-300))).sum())),
            "components",
            f"exponential of the entropy of the mean of p(component | top latent); {how}",
        ),
        **{
            f"{split}_mixture_weight_{n}": results.result(
                float(weight), "", f"mean of p(component {n} | top latent); {how}"
            )
            for n, weight in enumerate(found.weights)
        },
    }
    if task.image_sets.labelled and len(task.count) > 1:
        entries[f"{split}_mixture_accuracy"] = entry(
            100 * found.correct, "%", "images of the class that most images of their component are of in this split"
        )
    return entries


def components(task: Task) -> Components:
    """Images of a split, upright and under the first noise draw, by component."""
    upright = np.asarray(task.values(0))[:, 0]
    exists = task.image_sets.exists
    labels = np.broadcast_to(np.arange(len(upright))[:, None], exists.shape)[exists]
    task.say(f"assigning {exists.sum()} {task.split} images to components")
    log_probs = np.asarray(of_sets(_log_responsibilities, task.model, task.params, upright[exists][:, None]))
    probs = np.exp(log_probs, dtype=np.float64)
    component = probs.argmax(axis=1)
    counts = np.zeros((probs.shape[1], len(upright)), int)
    np.add.at(counts, (component, labels), 1)
    return Components(
        weights=probs.mean(axis=0),
        entropy=-(probs * log_probs).sum(axis=1),
        component=component,
        correct=(counts.argmax(axis=1)[component] == labels).astype(float),
    )


def _log_responsibilities(
    latents: LatentFunctions, params: Params, element_set: EncodedElement, mask: Array
) -> Float[Array, "batch component"]:
    top = latents.infer(params, element_set, mask, None)[0].levels[0].example_latent
    assert isinstance(top.p, GaussianMixture)
    assert top.q is not None
    return gaussian_mixture.log_responsibilities(top.p, top.q.mean[:, 0])


MIXTURE = Evaluator(
    name="mixture",
    needs="a mixture as the prior of the top latent",
    requires=lambda model: model.latents is not None and model.latents.num_components > 0,
    metrics=lambda config, model: {},
    validate=lambda task: {},
    evaluate=evaluate,
)

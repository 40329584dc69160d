"""Unseen views of objects that training has not seen, by models that know the context of every image."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from exflow.data.registry import ImageSets
from exflow.evaluation import placement, results
from exflow.evaluation.evaluator import Entries, Evaluator, Task, plural
from exflow.evaluation.metrics.image_quality import mean_squared_error, structural_similarity
from exflow.evaluation.scoring import likelihood, views
from exflow.evaluation.scoring.likelihood import Estimate
from exflow.evaluation.spread import evenly_spread
from exflow.model import Model, sets_of
from exflow.typing import Element

MAX_PREDICTED = 2_000  # targets whose picture is predicted, for each number of given views


def metrics(config: ConfigDict, model: Model) -> dict[str, str]:
    """`nll` in the form of the objective, `nll_prior`, `bits_per_dim`, and `nll_given_<number>` of views."""
    size = config.evaluation.nll_set_size
    numbers = sorted({number for number in _numbers(model) if not size or number < size})
    names = ["nll", "nll_prior", "bits_per_dim", *(f"nll_given_{number}" for number in numbers)]
    return dict.fromkeys(names, "min")


def validate(task: Task) -> dict[str, float]:
    """Numbers with one fixed draw of the noise, nats per target view.

    `nll` is in the form of the objective: given as many views as training gives, or -log p(x_n | x_<n) where that is 0.
    `bits_per_dim` is the same in other units, `nll_prior` is given none.
    """
    model, params, num_given = task.model, task.params, sets_of(task.model).num_given
    sets, elements = _draw(task), placement.replicate(task.encodings(0))
    exists, owner = sets.mask[:, sets.first_target :], objects(sets, task.image_sets)
    curve = {
        number: per_target(-views.score(model, params, elements, sets, number).log_prob, exists, owner).value
        for number in sets.numbers
    }
    if num_given:
        nll = curve.get(num_given, curve[sets.first_target])
    else:
        joint, prior = likelihood.set_log_probs(model, params, elements, likelihood.Sets(sets.rows, sets.mask))
        nll = likelihood.summarize(likelihood.SetLogProbs(joint[None], prior[None], sets.mask)).nll.value
    values = {"nll": nll, "nll_prior": curve[0], "bits_per_dim": likelihood.bits_per_dim(nll, model.image_shape)}
    return values | {f"nll_given_{number}": value for number, value in curve.items()}


def evaluate(task: Task) -> Entries:
    """Likelihood, error of the predicted picture and calibration: `<split>_<quantity>/given_<number>` of views."""
    model, split, draws = task.model, task.split, task.encodings.num_draws
    sets = _draw(task)
    scores: dict[int, list[views.ViewScores]] = {number: [] for number in sets.numbers}
    elements = None
    for draw in range(draws):
        elements = placement.replicate(task.encodings(draw))
        for number in sets.numbers:
            scores[number].append(views.score(model, task.params, elements, sets, number))
    exists, owner = sets.mask[:, sets.first_target :], objects(sets, task.image_sets)
    what = _describe(task, sets, owner)
    scale = likelihood.bits_per_dim(1.0, model.image_shape)
    entries: Entries = {}
    log_probs = {number: np.mean([score.log_prob for score in drawn], axis=0) for number, drawn in scores.items()}
    for number, log_prob in log_probs.items():
        nll = per_target(-log_prob, exists, owner)
        how = f"-log p(view | {_number_of_views(number)}); {what}; {plural(draws, 'noise draw')}"
        for name, unit, factor in (("nll", "nats/image", 1.0), ("bits_per_dim", "bits/dim", scale)):
            entries[f"{split}_{name}/given_{number}"] = _entry(nll, unit, how, factor)
    for number in sets.numbers[1:]:  # objects differ more from each other than the numbers of views do
        gain = per_target(log_probs[number] - log_probs[0], exists, owner)
        how = f"log p(view | {_number_of_views(number)}) - log p(view), paired; {what}"
        entries[f"{split}_nll_gain/given_{number}"] = _entry(gain, "nats/image", how)
    for number, drawn in scores.items():
        for place, interval in enumerate(views.INTERVALS[: drawn[0].coverage.shape[-1]]):
            share = per_target(drawn[0].coverage[..., place], exists, owner)
            how = f"latents inside their central {interval:.0%} predictive interval given {_number_of_views(number)}"
            entries[f"{split}_coverage_{100 * interval:.0f}/given_{number}"] = _entry(
                share, "%", f"{how}; {what}", 100.0
            )
    if model.process is None:
        return entries
    task.say(f"predicting {split} views")
    return entries | _predictions(task, elements, sets)


def _predictions(task: Task, elements: Element, sets: views.ViewSets) -> Entries:
    """Mean squared error and structural similarity of the predicted pictures, of at most `MAX_PREDICTED` targets."""
    split, image_sets = task.split, task.image_sets
    num_sets = max(1, MAX_PREDICTED // (sets.rows.shape[1] - sets.first_target))
    sets = sets._replace(rows=evenly_spread(sets.rows, num_sets), mask=evenly_spread(sets.mask, num_sets))
    images = np.asarray(image_sets.index).reshape(-1)[sets.rows[:, sets.first_target :]]
    truth = np.asarray(image_sets.images)[images]
    if task.transform is not None:
        flat = np.asarray(task.transform(truth.reshape(-1, *truth.shape[2:])))
        truth = flat.reshape(*images.shape, *flat.shape[1:])
    context = np.asarray(image_sets.context)[images]
    exists, owner = sets.mask[:, sets.first_target :], objects(sets, image_sets)
    what = _describe(task, sets, owner)
    entries: Entries = {}
    for number in sets.numbers:
        size = task.config.evaluation.batch_size
        predicted = views.predict(task.model, task.params, elements, sets, number, context, size)
        how = f"picture of the mean predictive latent given {_number_of_views(number)}"
        for name, unit, measure in (
            ("mse", "(pixel/255)^2", mean_squared_error),
            ("ssim", "SSIM", structural_similarity),
        ):
            value = per_target(measure(predicted, truth), exists, owner)
            entries[f"{split}_{name}/given_{number}"] = _entry(value, unit, f"{how}; {what}")
    order = [name for kind in ("mse", "ssim") for name in entries if name.startswith(f"{split}_{kind}/")]
    return {name: entries[name] for name in order}


def _numbers(model: Model) -> tuple[int, ...]:
    """Numbers of given views that are of interest, if the sets are large enough."""
    return (*views.NUM_GIVEN, sets_of(model).num_given)


def _draw(task: Task) -> views.ViewSets:
    options = task.config.evaluation
    return views.draw_view_sets(task.image_sets, options.nll_set_size, task.config.training.seed, _numbers(task.model))


def objects(sets: views.ViewSets, image_sets: ImageSets) -> np.ndarray:
    """Class of every set."""
    return sets.rows[:, 0] // image_sets.index.shape[1]


def per_target(
    values: Float[np.ndarray, "sets targets"], exists: Bool[np.ndarray, "sets targets"], owner: np.ndarray
) -> Estimate:
    """Mean over all targets, and its standard error over objects, whose views depend on each other.

    Args:
      values: Of every target.
      exists: Which targets count.
      owner: Object of every set.
    """
    _, place = np.unique(owner, return_inverse=True)
    total = np.bincount(place, np.where(exists, values, 0.0).sum(axis=1))
    return likelihood.ratio_estimate(total, np.bincount(place, exists.sum(axis=1)))


def _describe(task: Task, sets: views.ViewSets, owner: np.ndarray) -> str:
    height, width, channels = task.model.image_shape
    exists = sets.mask[:, sets.first_target :]
    return (
        f"{exists.sum()} target views of {len(np.unique(owner))} {task.split} objects, {height}x{width}x{channels}, "
        "the same for every number of given views"
    )


def _number_of_views(number: int) -> str:
    return {0: "no view", 1: "1 view of the object"}.get(number, f"{number} views of the object")


def _entry(estimate: Estimate, unit: str, protocol: str, factor: float = 1.0) -> dict[str, Any]:
    return results.result(estimate.value * factor, unit, protocol, standard_error=estimate.standard_error * factor)


VIEWS = Evaluator(
    name="views",
    needs="densities of sets whose elements have a context",
    requires=lambda model: model.sets is not None and model.context_dim > 0,
    metrics=metrics,
    validate=validate,
    evaluate=evaluate,
)

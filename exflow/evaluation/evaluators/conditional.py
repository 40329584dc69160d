"""Evaluation of models that know the context of every image: unseen views of objects that training has not seen."""

import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from exflow.evaluation import encoding, placement, results
from exflow.evaluation.metrics.image_quality import mean_squared_error, structural_similarity
from exflow.evaluation.scoring import likelihood, views
from exflow.evaluation.scoring.likelihood import Estimate
from exflow.model import Model
from exflow.typing import Element, Params, PRNGKey

MAX_PREDICTED = 2_000  # targets whose picture is predicted, for each number of given views

Transform = Callable[[np.ndarray], Any]


def evaluate_split(
    config: ConfigDict,
    model: Model,
    params: Params,
    image_sets: Any,
    split: str,
    transform: Transform | None,
    key: PRNGKey,
    say: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """Likelihood, error of the predicted picture and calibration against the number of given views.

    Args:
      config: Complete configuration.
      model: Set model with `context_dim` > 0.
      params: Its parameters.
      image_sets: The split, with contexts.
      split: Its name.
      transform: Applied to images before they are encoded.
      key: Of the dequantization noise.
      say: Called with every line for the user.

    Returns:
      Entries of `results.json`, named `<split>_<quantity>/given_<number>`.
    """
    options = config.evaluation
    sets = _draw(config, image_sets)
    draws = max(options.noise_draws, 1)
    scores: dict[int, list[views.ViewScores]] = {number: [] for number in sets.numbers}
    elements = None
    for draw in range(draws):
        title = f"encoding {split} views, noise draw {draw + 1}"
        if not sys.stderr.isatty():
            say(title)
        elements = _encode(config, model, params, image_sets, transform, jax.random.fold_in(key, draw), title)
        for number in sets.numbers:
            scores[number].append(views.score(model, params, elements, sets, number))
    exists, owner = sets.mask[:, sets.first_target :], objects(sets, image_sets)
    what = _describe(sets, owner, model, split)
    scale = likelihood.bits_per_dim(1.0, model.image_shape)
    entries: dict[str, dict[str, Any]] = {}
    log_probs = {number: np.mean([score.log_prob for score in drawn], axis=0) for number, drawn in scores.items()}
    for number, log_prob in log_probs.items():
        nll = per_target(-log_prob, exists, owner)
        how = f"-log p(view | {_number_of_views(number)}); {what}; {draws} noise draw{'s' if draws > 1 else ''}"
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
    say(f"predicting {split} views")
    return entries | _predictions(config, model, params, image_sets, split, transform, elements, sets)


def _predictions(
    config: ConfigDict,
    model: Model,
    params: Params,
    image_sets: Any,
    split: str,
    transform: Transform | None,
    elements: Element,
    sets: views.ViewSets,
) -> dict[str, dict[str, Any]]:
    """Mean squared error and structural similarity of the predicted pictures, of at most `MAX_PREDICTED` targets."""
    num_sets = max(1, MAX_PREDICTED // (sets.rows.shape[1] - sets.first_target))
    places = np.unique(np.linspace(0, len(sets.rows) - 1, min(num_sets, len(sets.rows))).astype(int))
    sets = sets._replace(rows=sets.rows[places], mask=sets.mask[places])
    images = np.asarray(image_sets.index).reshape(-1)[sets.rows[:, sets.first_target :]]
    truth = np.asarray(image_sets.images)[images]
    if transform is not None:
        flat = np.asarray(transform(truth.reshape(-1, *truth.shape[2:])))
        truth = flat.reshape(*images.shape, *flat.shape[1:])
    context = np.asarray(image_sets.context)[images]
    exists, owner = sets.mask[:, sets.first_target :], objects(sets, image_sets)
    what = _describe(sets, owner, model, split)
    entries: dict[str, dict[str, Any]] = {}
    for number in sets.numbers:
        predicted = views.predict(model, params, elements, sets, number, context, config.evaluation.batch_size)
        how = f"picture of the mean predictive latent given {_number_of_views(number)}"
        for name, unit, measure in (
            ("mse", "(pixel/255)^2", mean_squared_error),
            ("ssim", "SSIM", structural_similarity),
        ):
            value = per_target(measure(predicted, truth), exists, owner)
            entries[f"{split}_{name}/given_{number}"] = _entry(value, unit, f"{how}; {what}")
    order = [name for kind in ("mse", "ssim") for name in entries if name.startswith(f"{split}_{kind}/")]
    return {name: entries[name] for name in order}


def validate(
    config: ConfigDict,
    model: Model,
    params: Params,
    image_sets: Any,
    transform: Transform | None,
    key: PRNGKey,
    description: str | None = None,
) -> dict[str, float]:
    """Quick numbers for use during training, with one fixed draw of the noise.

    Args:
      config: Complete configuration.
      model: Set model with `context_dim` > 0.
      params: Its parameters.
      image_sets: The validation split, with contexts.
      transform: Applied to images before they are encoded.
      key: Of the dequantization noise.
      description: Title of the progress bar; None shows none.

    Returns:
      `nll_given_<number>` in nats per target view; `nll` in the form of the objective (given
      `config.objective.num_given` views, or -log p(x_n | x_<n) where that is 0), the same in `bits_per_dim`, and
      `nll_prior` given none.
    """
    num_given = config.objective.num_given
    sets = _draw(config, image_sets)
    elements = placement.replicate(_encode(config, model, params, image_sets, transform, key, description))
    exists, owner = sets.mask[:, sets.first_target :], objects(sets, image_sets)
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


def _draw(config: ConfigDict, image_sets: Any) -> views.ViewSets:
    numbers = (*views.NUM_GIVEN, config.objective.num_given)
    return views.draw_view_sets(image_sets, config.evaluation.nll_set_size, config.training.seed, numbers)


def _encode(
    config: ConfigDict,
    model: Model,
    params: Params,
    image_sets: Any,
    transform: Transform | None,
    key: PRNGKey,
    title: str | None,
) -> Element:
    size = config.evaluation.batch_size
    return placement.replicate(encoding.encode_split(model, params, key, image_sets, (0,), size, transform, title))


def objects(sets: views.ViewSets, image_sets: Any) -> np.ndarray:
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


def _describe(sets: views.ViewSets, owner: np.ndarray, model: Model, split: str) -> str:
    height, width, channels = model.image_shape
    exists = sets.mask[:, sets.first_target :]
    return (
        f"{exists.sum()} target views of {len(np.unique(owner))} {split} objects, {height}x{width}x{channels}, "
        "the same for every number of given views"
    )


def _number_of_views(number: int) -> str:
    return {0: "no view", 1: "1 view of the object"}.get(number, f"{number} views of the object")


def _entry(estimate: Estimate, unit: str, protocol: str, factor: float = 1.0) -> dict[str, Any]:
    return results.result(estimate.value * factor, unit, protocol, standard_error=estimate.standard_error * factor)

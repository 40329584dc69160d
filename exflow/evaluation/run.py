"""Run the evaluators of a configuration: quick numbers during training, `results.json` and pictures after it."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from exflow.data.registry import ImageSets
from exflow.errors import UserError
from exflow.evaluation import encoding, placement, results
from exflow.evaluation.encoding import Encodings, Transform
from exflow.evaluation.evaluator import Entries, Say, Task
from exflow.evaluation.registry import chosen
from exflow.evaluation.results_line import append_line
from exflow.evaluation.scoring import few_shot, likelihood
from exflow.model import FittedCodes, Model
from exflow.typing import Element, Params, PRNGKey

SEED = 0x6576616C  # separates the noise and the episodes of evaluation from those of training
ROTATIONS = (0, 1, 2, 3)


def evaluate(
    config: ConfigDict,
    workdir: Path,
    model: Model,
    params: Params,
    step: int,
    image_sets: Mapping[str, ImageSets],
    transform: Transform | None = None,
    info: Mapping[str, Any] | None = None,
    notify: Say = print,
    fitted: FittedCodes | None = None,
) -> dict[str, Any]:
    """Evaluate, write `results.json`, then draw `samples/*.png`, and print the closing table.

    Several processes all compute; the first one writes and prints.

    Args:
      config: Complete configuration.
      workdir: Working directory.
      model: What was trained.
      params: Parameters to evaluate.
      step: Training step they are from.
      image_sets: `ImageSets` by split; the splits in `config.evaluation.splits` are evaluated.
      transform: Applied to images [n, H, W, C] before they are encoded; None: the means of `config.data.downscale`.
      info: Further facts for `results.json`, such as `training_seconds`.
      notify: Called with every line for the user.
      fitted: What the model's `sampler` is fitted to, for a model that has one.

    Returns:
      Content of `results.json`.

    Raises:
      UserError: The model cannot serve an evaluator of the configuration.
    """
    start = time.perf_counter()
    transform = transform or encoding.downscaling(config.data.downscale)
    first = jax.process_index() == 0
    say = notify if first else lambda line: None
    params, evaluators = placement.replicate(params), chosen(config, model)
    entries: Entries = {}
    for split in config.evaluation.splits:
        train = image_sets.get("train") if split != "train" else None
        entries |= evaluate_split(config, model, params, image_sets[split], split, transform, say, fitted, train)
    facts = {**(info or {}), "evaluation_seconds": round(time.perf_counter() - start, 1)}
    content = results.document(config, step, params, entries, facts)
    if not first:
        return content
    try:
        results.write_results(Path(workdir) / "results.json", content)  # a picture that fails takes no number with it
        append_line(Path(workdir), entries, _epoch(config, step, image_sets))
    except OSError as error:
        say(results.table(entries))
        raise UserError(
            f"{workdir}: results.json cannot be written ({error.strerror}), the table is all there is. Free disk space "
            "or change --workdir."
        ) from error
    split = "test" if "test" in image_sets else config.evaluation.splits[0]
    task = closing_task(config, model, params, image_sets[split], split, transform, say, fitted)
    try:
        for evaluator in evaluators:
            if evaluator.draw is not None:
                evaluator.draw(task, Path(workdir))
    finally:
        say(results.table(entries))
    return content


def _epoch(config: ConfigDict, step: int, image_sets: Mapping[str, ImageSets]) -> int:
    """How often training has seen every image of its split, rounded down; 0 where that is not at hand."""
    seen = step * config.data.sets_per_batch * config.data.set_size
    return seen // max(int(np.sum(image_sets["train"].count)), 1) if "train" in image_sets else 0


def evaluate_split(
    config: ConfigDict,
    model: Model,
    params: Params,
    image_sets: ImageSets,
    split: str,
    transform: Transform | None,
    say: Say,
    fitted: FittedCodes | None = None,
    train: ImageSets | None = None,
) -> Entries:
    """Entries of `results.json` of all evaluators for one split, whose images are encoded once per noise draw."""
    params = placement.replicate(params)
    task = closing_task(config, model, params, image_sets, split, transform, say, fitted)._replace(train=train)
    entries: Entries = {}
    for evaluator in chosen(config, model):
        entries |= evaluator.evaluate(task)
    return entries


def validate(
    config: ConfigDict,
    model: Model,
    params: Params,
    image_sets: ImageSets,
    transform: Transform | None = None,
    show_progress: bool = False,
) -> dict[str, float]:
    """Quick numbers of all evaluators for use during training, from unrotated images with one fixed noise draw.

    Args:
      config: Complete configuration.
      model: What is trained.
      params: Its parameters.
      image_sets: The validation split.
      transform: Applied to images before they are encoded; None: the means of `config.data.downscale`.
      show_progress: Whether to show a progress bar.

    Returns:
      Numbers by the names that the evaluators declare in `metrics`; those that the split cannot give are left out.
    """
    transform, key = transform or encoding.downscaling(config.data.downscale), evaluation_key(config)
    title = "validation" if show_progress else None
    encodings, values = (
        Encodings(_encoder(config, one, params, image_sets, transform, (0,), lambda draw: (key, title)), 1)
        for one in (model, encoding.values_only(model))
    )
    params, found = placement.replicate(params), {}
    task = Task(config, model, params, image_sets, "validation", transform, key, encodings, values, lambda line: None)
    for evaluator in chosen(config, model):
        found |= evaluator.validate(task)
    return found


def closing_task(
    config: ConfigDict,
    model: Model,
    params: Params,
    image_sets: ImageSets,
    split: str,
    transform: Transform | None,
    say: Say,
    fitted: FittedCodes | None = None,
) -> Task:
    """The task after training: encodings of all noise draws, in all rotations where few-shot episodes use them."""
    options, key = config.evaluation, evaluation_key(config)
    settings = few_shot.possible_settings(options.settings, np.asarray(image_sets.count))
    rotations = ROTATIONS if config.data.rotate and settings and not model.context_dim else (0,)
    noun = "view" if model.context_dim else likelihood.noun(model)

    def of_draw(draw: int | None) -> tuple[PRNGKey | None, str]:
        title = f"encoding {split} {noun}s, {'no noise' if draw is None else f'noise draw {draw + 1}'}"
        if not sys.stderr.isatty():
            say(title)  # where there is no progress bar
        return None if draw is None else jax.random.fold_in(key, draw), title

    encodings, values = (
        Encodings(_encoder(config, one, params, image_sets, transform, rotations, of_draw), max(options.noise_draws, 1))
        for one in (model, encoding.values_only(model))
    )
    return Task(config, model, params, image_sets, split, transform, key, encodings, values, say, fitted)


def evaluation_key(config: ConfigDict) -> PRNGKey:
    """Key of all that evaluation draws."""
    return jax.random.fold_in(jax.random.key(config.training.seed), SEED)


def _encoder(
    config: ConfigDict,
    model: Model,
    params: Params,
    image_sets: ImageSets,
    transform: Transform | None,
    rotations: tuple[int, ...],
    of_draw: Callable[[int | None], tuple[PRNGKey | None, str | None]],
) -> Callable[[int | None], Element]:
    """Encode a split under a noise draw, whose key and title `of_draw` gives."""

    def encode(draw: int | None) -> Element:
        key, title = of_draw(draw)
        size = config.evaluation.batch_size
        return encoding.encode_split(model, params, key, image_sets, rotations, size, transform, title)

    return encode

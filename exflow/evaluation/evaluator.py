"""Run everything that section `evaluation` of a configuration asks for, through the functions of a `Model` alone."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from exflow.evaluation import encoding, placement, results
from exflow.evaluation.evaluators import conditional
from exflow.evaluation.pictures.sample_files import write_samples
from exflow.evaluation.published import published_accuracy, published_nll
from exflow.evaluation.scoring import few_shot, likelihood
from exflow.model import Model, sets_of
from exflow.typing import Params

SEED = 0x6576616C  # separates the noise and the episodes of evaluation from those of training
VALIDATION_DECISIONS = 10_000  # few-shot decisions per setting during training and per validation trial
VALIDATION_QUERIES = 5  # per class of an episode
ROTATIONS = (0, 1, 2, 3)

Transform = Callable[[np.ndarray], Any]


def evaluate(
    config: ConfigDict,
    workdir: Path,
    model: Model,
    params: Params,
    step: int,
    image_sets: Mapping[str, Any],
    transform: Transform | None = None,
    info: Mapping[str, Any] | None = None,
    notify: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Evaluate, draw samples, write `results.json` and `samples/*.png`, and print the closing table.

    Several processes all compute; the first one writes and prints.

    Args:
      config: Complete configuration.
      workdir: Working directory.
      model: Set model.
      params: Parameters to evaluate.
      step: Training step they are from.
      image_sets: `ImageSets` by split; the splits in `config.evaluation.splits` are evaluated.
      transform: Applied to uint8 images [n, H, W, C] before they are encoded; None: the means of
        `config.data.downscale`.
      info: Further facts for `results.json`, such as `training_seconds`.
      notify: Called with every line for the user.

    Returns:
      Content of `results.json`.
    """
    start = time.perf_counter()
    transform = transform or encoding.downscaling(config.data.downscale)
    first = jax.process_index() == 0
    say = notify if first else lambda line: None
    params = placement.replicate(params)
    entries: dict[str, dict[str, Any]] = {}
    for split in config.evaluation.splits:
        entries |= evaluate_split(config, model, params, image_sets[split], split, transform, say)
    if first:
        split = "test" if "test" in image_sets else config.evaluation.splits[0]
        write_samples(config, workdir, model, params, image_sets[split], transform, say)
    facts = {**(info or {}), "evaluation_seconds": round(time.perf_counter() - start, 1)}
    content = results.document(config, step, params, entries, facts)
    if first:
        results.write_results(Path(workdir) / "results.json", content)
        say(results.table(entries))
    return content


def evaluate_split(
    config: ConfigDict,
    model: Model,
    params: Params,
    image_sets: Any,
    split: str,
    transform: Transform | None,
    say: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """Likelihood and few-shot accuracy of one split; for conditional models what `conditional.evaluate_split` gives.

    The images are encoded once per noise draw and once without noise. Trial t of the few-shot protocol uses noise
    draw t modulo their number.

    Args:
      config: Complete configuration.
      model: Set model.
      params: Its parameters.
      image_sets: The split.
      split: Its name.
      transform: Applied to images before they are encoded.
      say: Called with every line for the user.

    Returns:
      Entries of `results.json`; those of other splits than test have the split's name in front.
    """
    key = jax.random.fold_in(jax.random.key(config.training.seed), SEED)
    if model.context_dim:
        return conditional.evaluate_split(config, model, params, image_sets, split, transform, key, say)
    options, prefix = config.evaluation, "" if split == "test" else f"{split}_"
    rotations = ROTATIONS if config.data.rotate else (0,)
    count = np.asarray(image_sets.count)
    settings = _possible_settings(config, count, split, say)
    sets = likelihood.draw_sets(count, 1, image_sets.index.shape[1], options.nll_set_size, config.training.seed)
    log_probs: list[tuple[np.ndarray, np.ndarray]] = []
    trials: dict[tuple[int, int], list[few_shot.FewShotAccuracy]] = {setting: [] for setting in settings}

    def encode(key: Any, rotations: tuple[int, ...], name: str) -> Any:
        title = f"encoding {split} {likelihood.noun(model)}s, {name}"
        if not sys.stderr.isatty():
            say(title)  # where there is no progress bar
        return encoding.encode_split(model, params, key, image_sets, rotations, options.batch_size, transform, title)

    def accuracy(elements: Any, setting: tuple[int, int], numbers: range) -> few_shot.FewShotAccuracy:
        title = f"{setting[0]}-way {setting[1]}-shot"
        seed = config.training.seed
        return few_shot.few_shot_accuracy(
            model, params, elements, *setting, numbers, seed, count, title, draws=options.importance_samples
        )

    for draw in range(max(options.noise_draws, 1)):
        elements = encode(jax.random.fold_in(key, draw), rotations if settings else (0,), f"noise draw {draw + 1}")
        upright = jax.tree.map(lambda leaf: leaf[:, :1], elements)
        log_probs.append(likelihood.set_log_probs(model, params, upright, sets, draws=options.importance_samples))
        elements = placement.replicate(elements)
        numbers = range(draw, options.num_trials, max(options.noise_draws, 1))
        for setting in settings if len(numbers) else ():
            trials[setting].append(accuracy(elements, setting, numbers))
    joint, prior = (np.stack(parts) for parts in zip(*log_probs, strict=True))
    summary = likelihood.summarize(likelihood.SetLogProbs(joint, prior, sets.mask))
    entries = _likelihood_entries(config, model, summary, split)
    if settings:
        elements = placement.replicate(encode(None, rotations, "no noise"))
    for counting, name in (("corrected", "few_shot"), ("original", "few_shot_original")):
        for setting in settings:
            parts = trials[setting]
            merged = few_shot.summarize([value for part in parts for value in getattr(part, counting).trials])
            decisions = sum(part.num_decisions for part in parts)
            title = f"{prefix}{name}/{setting[0]}way_{setting[1]}shot"
            entries[title] = _accuracy_entry(config, merged, split, setting, counting, decisions)
    for setting in settings:
        midpoint = accuracy(elements, setting, range(options.num_trials))
        title = f"{prefix}few_shot_midpoint/{setting[0]}way_{setting[1]}shot"
        entries[title] = _accuracy_entry(config, midpoint.corrected, split, setting, "midpoint", midpoint.num_decisions)
    return entries


def validate(
    config: ConfigDict,
    model: Model,
    params: Params,
    image_sets: Any,
    transform: Transform | None = None,
    show_progress: bool = False,
) -> dict[str, float]:
    """Quick numbers for use during training, from unrotated images with one fixed draw of the noise.

    Args:
      config: Complete configuration.
      model: Set model.
      params: Its parameters.
      image_sets: The validation split.
      transform: Applied to images before they are encoded; None: the means of `config.data.downscale`.
      show_progress: Whether to show a progress bar.

    Returns:
      `nll` and `nll_prior` in nats per image (or vector), `bits_per_dim` of images, and
      `few_shot/<way>way_<shot>shot` in [0, 1] from standard episodes (settings that the split cannot give are left
      out). Of a conditional model what `conditional.validate` gives.
    """
    params, transform = placement.replicate(params), transform or encoding.downscaling(config.data.downscale)
    options, seed, count = config.evaluation, config.training.seed, np.asarray(image_sets.count)
    key = jax.random.fold_in(jax.random.key(seed), SEED)
    title = "validation" if show_progress else None
    if model.context_dim:
        return conditional.validate(config, model, params, image_sets, transform, key, title)
    elements = placement.replicate(
        encoding.encode_split(model, params, key, image_sets, (0,), options.batch_size, transform, title)
    )
    sets = likelihood.draw_sets(count, 1, image_sets.index.shape[1], options.nll_set_size, seed)
    joint, prior = likelihood.set_log_probs(model, params, elements, sets, draws=options.importance_samples)
    summary = likelihood.summarize(likelihood.SetLogProbs(joint[None], prior[None], sets.mask))
    values = {"nll": summary.nll.value, "nll_prior": summary.nll_prior.value}
    if model.value_dtype == "uint8":
        values["bits_per_dim"] = likelihood.bits_per_dim(summary.nll.value, model.image_shape)
    for way, shot in _possible_settings(config, count, "validation", lambda line: None):
        enough = np.sort(count)[-way]
        queries = min(VALIDATION_QUERIES, int(enough) - shot)
        episodes = max(1, options.validation_trials * VALIDATION_DECISIONS // (way * queries))
        values[f"few_shot/{way}way_{shot}shot"] = few_shot.validation_accuracy(
            model, params, elements, way, shot, episodes, queries, seed, count, options.importance_samples
        )
    return values


def _possible_settings(
    config: ConfigDict, count: np.ndarray, split: str, say: Callable[[str], None]
) -> list[tuple[int, int]]:
    settings = []
    for way, shot in config.evaluation.settings:
        usable = int((count > shot).sum())
        if usable >= way:
            settings.append((way, shot))
        else:
            say(f"{way}-way {shot}-shot skipped: {split} has {usable} classes of at least {shot + 1} images")
    return settings


def _likelihood_entries(
    config: ConfigDict, model: Model, summary: likelihood.Likelihood, split: str
) -> dict[str, dict[str, Any]]:
    height, width, channels = model.image_shape
    noun, vectors = likelihood.noun(model), model.value_dtype == "float32"
    size = config.evaluation.nll_set_size or "all"
    shape = f"vectors of {channels}" if vectors else f"{height}x{width}x{channels}"
    sets = f"{summary.num_sets} sets of {size} {split} {noun}s of a class, {shape}"
    drawn = [] if vectors else [_plural(summary.num_draws, "noise draw")]
    scale = likelihood.bits_per_dim(1.0, model.image_shape)

    def entry(estimate: likelihood.Estimate, what: str, how: str, prior: bool, bits: bool) -> dict[str, Any]:
        factor = scale if bits else 1.0
        published = None if "bound" in how else published_nll(config, split, prior, bits)
        return results.result(
            estimate.value * factor,
            "bits/dim" if bits else f"nats/{noun}",
            f"{what}; {sets}; {how}",
            published,
            standard_error=estimate.standard_error * factor,
        )

    joint, single = "-log p(x_n | x_<n), mean over n", f"-log p(x), every {noun} on its own"
    if not sets_of(model).exact:
        drawn.append(f"{_plural(config.evaluation.importance_samples, 'draw')} of the latents")
        joint, single = "bound on -log p(X) / set size", f"bound on -log p(x), every {noun} on its own"
    draws = ", ".join(drawn)
    entries = {
        f"{split}_nll": entry(summary.nll, joint, draws, False, False),
        f"{split}_nll_prior": entry(summary.nll_prior, single, draws, True, False),
    }
    if not vectors:
        entries |= {
            f"{split}_bits_per_dim": entry(summary.nll, joint, draws, False, True),
            f"{split}_bits_per_dim_prior": entry(summary.nll_prior, single, draws, True, True),
        }
    if summary.num_draws > 1:
        how = f"importance-weighted bound of {draws}"
        entries |= {
            f"{split}_nll_bound": entry(summary.nll_bound, joint, how, False, False),
            f"{split}_nll_prior_bound": entry(summary.nll_prior_bound, single, how, True, False),
        }
    return entries


def _accuracy_entry(
    config: ConfigDict,
    accuracy: few_shot.Accuracy,
    split: str,
    setting: tuple[int, int],
    counting: str,
    decisions: int,
) -> dict[str, Any]:
    how = {
        "corrected": "ties count 1/n and NaN as wrong",
        "original": "ties and NaN count as correct, as in the paper's code",
        "midpoint": "noise fixed at its mean (not the paper's protocol)",
    }[counting]
    number = len(accuracy.trials)
    return results.result(
        100 * accuracy.mean,
        "%",
        f"{_plural(number, 'trial')} of {decisions // number} one-query episodes, {split} classes; {how}",
        None if counting == "midpoint" else published_accuracy(config, split, *setting),
        ci95=100 * accuracy.ci95,
    )


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

"""Few-shot classification accuracy of models of sets, with the protocol of the BRUNO paper and a corrected one.

Trial t of the protocol uses noise draw t modulo their number. A setting for which a split has too few classes or
images is skipped.
"""

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from exflow.evaluation import placement, published, results
from exflow.evaluation.evaluator import Entries, Evaluator, Task, plural
from exflow.evaluation.scoring import few_shot
from exflow.model import Model
from exflow.typing import Element

VALIDATION_DECISIONS = 10_000  # few-shot decisions per setting during training and per validation trial
VALIDATION_QUERIES = 5  # per class of an episode
COUNTINGS = {  # prefix of the entry -> how decisions are counted
    "few_shot": "ties count 1/n and NaN as wrong",
    "few_shot_original": "ties and NaN count as correct, as in the paper's code",
    "few_shot_midpoint": "noise fixed at its mean (not the paper's protocol)",
}


def metrics(config: ConfigDict, model: Model) -> dict[str, str]:
    """`few_shot/<way>way_<shot>shot`, an accuracy in [0, 1], for every setting."""
    del model
    return {f"few_shot/{_name(setting)}": "max" for setting in config.evaluation.settings}


def validate(task: Task) -> dict[str, float]:
    """Accuracy of standard episodes of unrotated images, with one fixed draw of the noise."""
    options, values = task.config.evaluation, {}
    settings = few_shot.possible_settings(options.settings, task.count)
    elements = placement.replicate(task.encodings(0)) if settings else None
    for way, shot in settings:
        enough = np.sort(task.count)[-way]
        queries = min(VALIDATION_QUERIES, int(enough) - shot)
        episodes = max(1, options.validation_trials * VALIDATION_DECISIONS // (way * queries))
        values[f"few_shot/{_name((way, shot))}"] = few_shot.validation_accuracy(
            task.model,
            task.params,
            elements,
            way,
            shot,
            episodes,
            queries,
            task.config.training.seed,
            task.count,
            options.importance_samples,
        )
    return values


def evaluate(task: Task) -> Entries:
    """Entries of all settings by the corrected counting, by the original one, and without noise."""
    options, draws = task.config.evaluation, task.encodings.num_draws
    settings = few_shot.possible_settings(options.settings, task.count)
    for way, shot in options.settings:
        if (way, shot) not in settings:
            usable = int((task.count > shot).sum())
            task.say(f"{way}-way {shot}-shot skipped: {task.split} has {usable} classes of at least {shot + 1} images")
    if not settings:
        return {}
    latents = task.model.latents
    if latents is not None and latents.num_set_latents == 0:
        task.say("few-shot: images of this model are independent, all classes score the same and accuracy is chance")
    trials: dict[tuple[int, int], list[few_shot.FewShotAccuracy]] = {setting: [] for setting in settings}
    for draw in range(min(draws, options.num_trials)):
        elements = placement.replicate(task.encodings(draw))
        for setting in settings:
            trials[setting].append(_accuracy(task, elements, setting, range(draw, options.num_trials, draws)))
    entries: Entries = {}
    for title, original in (("few_shot", False), ("few_shot_original", True)):
        for setting in settings:
            parts = [part.original if original else part.corrected for part in trials[setting]]
            merged = few_shot.summarize([one for part in parts for one in part.trials])
            decisions = sum(part.num_decisions for part in trials[setting])
            entries |= _entry(task, title, setting, merged, decisions)
    elements = placement.replicate(task.encodings(None))
    for setting in settings:
        found = _accuracy(task, elements, setting, range(options.num_trials))
        entries |= _entry(task, "few_shot_midpoint", setting, found.corrected, found.num_decisions)
    return entries


def _accuracy(task: Task, elements: Element, setting: tuple[int, int], numbers: range) -> few_shot.FewShotAccuracy:
    options, seed = task.config.evaluation, task.config.training.seed
    title = f"{setting[0]}-way {setting[1]}-shot"
    return few_shot.few_shot_accuracy(
        task.model,
        task.params,
        elements,
        *setting,
        numbers,
        seed,
        task.count,
        title,
        draws=options.importance_samples,
    )


def _entry(
    task: Task, title: str, setting: tuple[int, int], accuracy: few_shot.Accuracy, decisions: int
) -> dict[str, dict[str, Any]]:
    name, number = f"{task.prefix}{title}/{_name(setting)}", len(accuracy.trials)
    protocol = f"{plural(number, 'trial')} of {decisions // number} one-query episodes, {task.split} classes"
    entry = results.result(
        100 * accuracy.mean,
        "%",
        f"{protocol}; {COUNTINGS[title]}",
        published.find(task.config, name),
        ci95=100 * accuracy.ci95,
    )
    return {name: entry}


def _name(setting: tuple[int, int]) -> str:
    way, shot = setting
    return f"{way}way_{shot}shot"


FEW_SHOT = Evaluator(
    name="few_shot",
    needs="densities of sets whose elements have no context",
    requires=lambda model: model.sets is not None and not model.context_dim,
    metrics=metrics,
    validate=validate,
    evaluate=evaluate,
)

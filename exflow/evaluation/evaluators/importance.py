"""Importance-weighted bounds of models with latents, and how far they can be trusted.

By default where `config.evaluation.marginal_samples`, or in its place `importance_samples`, asks for more than one.
The bound is that of the first noise draw; standard errors are over sets, `monte_carlo_error` is that of other draws of
the latents, and few effective draws tell of a bound that more of them would tighten.

Where `config.evaluation.finetune_epochs` is not 0, the same bound, of the same sets and draws, stands beside it with an
inference network that was fine-tuned on these images. What is fine-tuned is kept nowhere.
"""

from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from exflow.evaluation import results
from exflow.evaluation.evaluator import Entries, Evaluator, Task, plural
from exflow.evaluation.evaluators.likelihood import describe_shape, scored
from exflow.evaluation.metrics import detection
from exflow.evaluation.scoring import likelihood
from exflow.evaluation.scoring.importance import SetBounds, importance
from exflow.evaluation.scoring.inference_tuning import INFERENCE, Tuning, tuned
from exflow.evaluation.scoring.likelihood import Estimate
from exflow.typing import Params

LATENTS = 0x6C6174  # separates the draws of the latents from those of the noise
TUNING = 0x74756E65  # ... and both from those of fine-tuning


def evaluate(task: Task) -> Entries:
    """Entries `<split>_importance_<quantity>`; none where a single draw is asked for."""
    options, model, split = task.config.evaluation, task.model, task.split
    draws = num_draws(task.config)
    if draws == 1:
        task.say("importance: skipped, for one draw there are no weights; set config.evaluation.marginal_samples")
        return {}
    max_count = task.image_sets.index.shape[1]
    sets = likelihood.draw_sets(task.count, 1, max_count, options.nll_set_size, task.config.training.seed)
    if options.marginal_sets:
        sets = likelihood.Sets(*(leaf[: options.marginal_sets] for leaf in sets))
    task.say(f"weighing {plural(draws, 'draw')} of the latents of {len(sets.rows)} {split} sets")
    values = scored(task, sets)
    found, size = measure(task, task.params, values, sets.mask), sets.mask.sum(axis=1)
    noun = likelihood.noun(model)
    what = likelihood.describe_sets(sets.mask, f"{split} {noun}s")
    how = f"{what}, {describe_shape(model)}; {plural(draws, 'draw')} of the latents"

    def entry(estimate: Estimate, unit: str, title: str) -> dict[str, Any]:
        return results.result(estimate.value, unit, f"{title}; {how}", standard_error=estimate.standard_error)

    def per_element(total: np.ndarray) -> Estimate:
        return likelihood.ratio_estimate(total, size)

    unit, error = f"nats/{noun}", np.sqrt((found.standard_error**2).sum()) / size.sum()
    weighted = "importance-weighted bound on -log p(X) / set size"
    single = "bound of 1 draw on -log p(X) / set size, mean over draws"
    as_trained = ", inference as trained" if options.finetune_epochs else ""
    entries = {
        f"{split}_importance_nll": entry(per_element(-found.bound), unit, f"{weighted}{as_trained}"),
        f"{split}_importance_nelbo": entry(per_element(-found.elbo), unit, f"{single}{as_trained}"),
        f"{split}_importance_monte_carlo_error": results.result(
            float(error), unit, f"standard error of {split}_importance_nll over draws of the latents; {how}"
        ),
        f"{split}_importance_effective_draws": entry(
            detection.mean_estimate(found.effective_sample_size), "draws", "effective sample size, mean over sets"
        ),
    }
    if not options.finetune_epochs:
        return entries
    epochs = plural(options.finetune_epochs, "epoch")
    task.say(f"fine-tuning inference on {size.sum()} {split} {noun}s for {epochs}")
    key = jax.random.fold_in(task.key, TUNING)
    after = tuned(model, task.params, values, sets.mask, key, tuning(task), task.say)
    then = measure(task, after, values, sets.mask)
    label = f"inference fine-tuned on these {split} {noun}s themselves for {epochs}, generator as trained"
    return entries | {
        f"{split}_importance_nll_finetuned": entry(
            per_element(-then.bound), unit, f"{weighted}, {label} (not comparable with bounds of untuned inference)"
        ),
        f"{split}_importance_nelbo_finetuned": entry(
            per_element(-then.elbo), unit, f"{single}, {label} (not comparable with bounds of untuned inference)"
        ),
        f"{split}_importance_gain_finetuned": entry(
            per_element(then.bound - found.bound), unit, f"gain in the importance-weighted bound, paired; {label}"
        ),
    }


def num_draws(config: ConfigDict) -> int:
    """Draws of the latents."""
    return config.evaluation.marginal_samples or config.evaluation.importance_samples


def measure(
    task: Task, params: Params, values: Float[np.ndarray, "sets set h w c"], mask: Bool[np.ndarray, "sets set"]
) -> SetBounds:
    """Bounds on the log evidence of sets; the same draws whatever the parameters."""
    key = jax.random.fold_in(task.key, LATENTS)
    return importance(task.model, params, values, key, num_draws(task.config), mask=mask)


def tuning(task: Task) -> Tuning:
    """Fine-tuning by Adam as in training, with the limits and the penalty of the group."""
    optimizer, options = task.config.optimizer, task.config.evaluation
    group = optimizer.groups[INFERENCE]
    return Tuning(
        options.finetune_epochs,
        options.finetune_learning_rate,
        optimizer.b1,
        optimizer.b2,
        optimizer.epsilon,
        group.l2,
        group.clip_norm,
    )


IMPORTANCE = Evaluator(
    name="importance",
    needs="latent variables of whole images",
    requires=lambda model: model.latents is not None and model.imputation is None,
    metrics=lambda config, model: {},
    validate=lambda task: {},
    evaluate=evaluate,
    by_default=lambda config: num_draws(config) > 1,
)

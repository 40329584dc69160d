"""Negative log-likelihood of sets, and of every element on its own, by models of sets of images or vectors."""

from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from exflow.evaluation import published, results
from exflow.evaluation.evaluator import Entries, Evaluator, Task, plural
from exflow.evaluation.scoring import likelihood
from exflow.evaluation.scoring.likelihood import Estimate, LikelihoodSummary
from exflow.model import Model, sets_of


def metrics(config: ConfigDict, model: Model) -> dict[str, str]:
    """`nll` and `nll_prior` in nats, and `bits_per_dim` of images."""
    del config
    names = ["nll", "nll_prior", *(["bits_per_dim"] if has_pixels(model) else [])]
    return dict.fromkeys(names, "min")


def validate(task: Task) -> dict[str, float]:
    """Of unrotated images, with one fixed draw of the noise; nats per image or vector."""
    summary = measure(task)
    values = {"nll": summary.nll.value, "nll_prior": summary.nll_prior.value}
    if has_pixels(task.model):
        values["bits_per_dim"] = likelihood.bits_per_dim(summary.nll.value, task.model.image_shape)
    return values


def measure(task: Task) -> LikelihoodSummary:
    """Log-densities of the unrotated images of a split, divided into sets, under every noise draw."""
    options, log_probs = task.config.evaluation, []
    max_count = task.image_sets.index.shape[1]
    sets = likelihood.draw_sets(task.count, 1, max_count, options.nll_set_size, task.config.training.seed)
    for draw in range(task.encodings.num_draws):
        upright = jax.tree.map(lambda leaf: leaf[:, :1], task.encodings(draw))
        log_probs.append(
            likelihood.set_log_probs(task.model, task.params, upright, sets, draws=options.importance_samples)
        )
    joint, prior = (np.stack(parts) for parts in zip(*log_probs, strict=True))
    return likelihood.summarize(likelihood.SetLogProbs(joint, prior, sets.mask))


def evaluate(task: Task) -> Entries:
    """Entries `<split>_nll` and so on; with several noise draws also bounds that average the density over them."""
    model, options, split = task.model, task.config.evaluation, task.split
    summary = measure(task)
    noun, pixels = likelihood.noun(model), has_pixels(model)
    sets = f"{likelihood.describe_sets(summary.mask, f'{split} {noun}s')}, {describe_shape(model)}"
    drawn = [plural(summary.num_draws, "noise draw")] if pixels else []
    scale = likelihood.bits_per_dim(1.0, model.image_shape)

    def entry(name: str, estimate: Estimate, what: str, how: str, bits: bool = False) -> dict[str, Any]:
        factor = scale if bits else 1.0
        return results.result(
            estimate.value * factor,
            "bits/dim" if bits else f"nats/{noun}",
            f"{what}; {sets}; {how}",
            published.find(task.config, f"{split}_{name}"),
            standard_error=estimate.standard_error * factor,
        )

    joint, single = "-log p(x_n | x_<n), mean over n", f"-log p(x), every {noun} on its own"
    if not sets_of(model).exact:
        drawn.append(f"{plural(options.importance_samples, 'draw')} of the latents")
        joint, single = "bound on -log p(X) / set size", f"bound on -log p(x), every {noun} on its own"
    draws = ", ".join(drawn)
    entries = {
        f"{split}_nll": entry("nll", summary.nll, joint, draws),
        f"{split}_nll_prior": entry("nll_prior", summary.nll_prior, single, draws),
    }
    if pixels:
        entries |= {
            f"{split}_bits_per_dim": entry("bits_per_dim", summary.nll, joint, draws, bits=True),
            f"{split}_bits_per_dim_prior": entry("bits_per_dim_prior", summary.nll_prior, single, draws, bits=True),
        }
    if summary.num_draws > 1:
        how = f"importance-weighted bound of {draws}"
        entries |= {
            f"{split}_nll_bound": entry("nll_bound", summary.nll_bound, joint, how),
            f"{split}_nll_prior_bound": entry("nll_prior_bound", summary.nll_prior_bound, single, how),
        }
    return entries


def has_pixels(model: Model) -> bool:
    """Whether elements are images of pixels 0..255, and not vectors."""
    return not model.of_vectors


def describe_shape(model: Model) -> str:
    """Such as "28x28x1" or "vectors of 2"."""
    height, width, channels = model.image_shape
    return f"{height}x{width}x{channels}" if has_pixels(model) else f"vectors of {channels}"


LIKELIHOOD = Evaluator(
    name="likelihood",
    needs="densities of sets whose elements have no context",
    requires=lambda model: model.sets is not None and not model.context_dim,
    metrics=metrics,
    validate=validate,
    evaluate=evaluate,
)

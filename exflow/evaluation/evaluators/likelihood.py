"""Negative log-likelihood of sets, and of every element on its own, by models of sets of images or vectors."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from exflow.evaluation import published, results
from exflow.evaluation.evaluator import Entries, Evaluator, Task, plural
from exflow.evaluation.scoring import likelihood
from exflow.evaluation.scoring.likelihood import Estimate, LikelihoodSummary
from exflow.model import Model, sets_of


def metrics(config: ConfigDict, model: Model) -> dict[str, str]:
    """`nll` in nats, of sets of several elements `nll_prior`, and of images `bits_per_dim`."""
    prior = [] if config.evaluation.nll_set_size == 1 else ["nll_prior"]
    return dict.fromkeys(["nll", *prior, *(["bits_per_dim"] if has_pixels(model) else [])], "min")


def validate(task: Task) -> dict[str, float]:
    """Of unrotated images, with one fixed draw of the noise; nats per image or vector."""
    summary = measure(task)
    values = {"nll": summary.nll.value}
    if task.config.evaluation.nll_set_size != 1:
        values["nll_prior"] = summary.nll_prior.value
    if has_pixels(task.model):
        values["bits_per_dim"] = likelihood.bits_per_dim(summary.nll.value, task.model.image_shape)
    return values


def measure(task: Task) -> LikelihoodSummary:
    """Log-densities of the unrotated images of a split, divided into sets, under every noise draw."""
    options, log_probs = task.config.evaluation, []
    max_count = task.image_sets.index.shape[1]
    sets = likelihood.draw_sets(task.count, 1, max_count, options.nll_set_size, task.config.training.seed)
    for draw in range(task.encodings.num_draws):
        if of_single_images(task.model):
            alone = likelihood.log_probs_alone(
                task.model, task.params, scored(task, sets, draw), sets.mask, options.importance_samples
            )
            log_probs.append((alone, alone))
            continue
        upright = jax.tree.map(lambda leaf: leaf[:, :1], task.encodings(draw))
        log_probs.append(
            likelihood.set_log_probs(task.model, task.params, upright, sets, draws=options.importance_samples)
        )
    joint, prior = (np.stack(parts) for parts in zip(*log_probs, strict=True))
    return likelihood.summarize(likelihood.SetLogProbs(joint, prior, sets.mask))


def evaluate(task: Task) -> Entries:
    """Entries `<split>_nll` and so on; with several noise draws also bounds that average the density over them.

    Of sets of one `nll` says it all: there is no `nll_prior`.
    """
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
    how = f"importance-weighted bound of {draws}"
    entries = {"nll": entry("nll", summary.nll, joint, draws)}
    entries["nll_prior"] = entry("nll_prior", summary.nll_prior, single, draws)
    if pixels:
        entries["bits_per_dim"] = entry("bits_per_dim", summary.nll, joint, draws, bits=True)
        entries["bits_per_dim_prior"] = entry("bits_per_dim_prior", summary.nll_prior, single, draws, bits=True)
    if summary.num_draws > 1:
        entries["nll_bound"] = entry("nll_bound", summary.nll_bound, joint, how)
        entries["nll_prior_bound"] = entry("nll_prior_bound", summary.nll_prior_bound, single, how)
    alone = options.nll_set_size == 1
    return {f"{split}_{name}": one for name, one in entries.items() if not (alone and "prior" in name)}


def scored(task: Task, sets: likelihood.Sets, draw: int = 0) -> Float[np.ndarray, "sets set h w c"]:
    """What the likelihood scores of sets of unrotated images, under a noise draw; of models with latents."""
    upright = np.asarray(task.values(draw))[:, 0]
    return upright.reshape(-1, *upright.shape[2:])[sets.rows]


def of_single_images(model: Model) -> bool:
    """Whether the latents of every element are its own, so that sets are scored element by element."""
    return model.latents is not None and model.latents.num_set_latents == 0


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

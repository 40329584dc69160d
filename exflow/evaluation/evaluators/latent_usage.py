"""What the latent groups of single images tell of them: divergences, and units that depend on the image at all.

A unit is active where its posterior mean varies between images by more than 0.01. Source: Burda et al. 2016,
arXiv:1509.00519, section 5.2.
"""

from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from exflow.core.latents.elements import EncodedElement
from exflow.evaluation import results
from exflow.evaluation.evaluator import Entries, Evaluator, Task
from exflow.evaluation.evaluators.likelihood import of_single_images
from exflow.evaluation.metrics import detection
from exflow.evaluation.scoring import likelihood
from exflow.evaluation.scoring.latents import elbo_terms, pieces_of_sets
from exflow.model import LatentFunctions, Model
from exflow.typing import Params

USAGE = 0x75736167  # separates the draws of the latents from those of other evaluators
ACTIVE = 0.01  # variance over images of the posterior mean of a unit, from which on it counts as active


def evaluate(task: Task) -> Entries:
    """Entries `<split>_kl_group_<n>`, nats, and `<split>_active_units_group_<n>`, group 0 at the top."""
    values = np.asarray(task.values(0))[:, 0][task.image_sets.exists][:, None]
    noun, split = likelihood.noun(task.model), task.split
    task.say(f"measuring what the latents say of {len(values)} {split} {noun}s")
    terms = elbo_terms(task.model, task.params, values, [jax.random.fold_in(task.key, USAGE)])
    active, sizes = active_units(task.model, task.params, values)
    entries, units = {}, {}
    for group, size in enumerate(sizes):
        what = f"latent group {group} of {len(sizes)}, from the top, {size} units; {len(values)} {split} {noun}s"
        estimate = detection.mean_estimate(terms.kl_examples[:, group])
        entries[f"{split}_kl_group_{group}"] = results.result(
            estimate.value,
            f"nats/{noun}",
            f"KL(q || p), 1 draw of the latents above; {what}",
            standard_error=estimate.standard_error,
        )
        units[f"{split}_active_units_group_{group}"] = results.result(
            float(active[group]),
            "units",
            f"Var(E_q[z | x]) > {ACTIVE} over images, latents above at their means; {what}",
        )
    return entries | units


def active_units(
    model: Model, params: Params, values: Float[np.ndarray, "images 1 h w c"]
) -> tuple[Int[np.ndarray, " group"], list[int]]:
    """Units of each latent group whose posterior means vary between images, and units of each group.

    The latents above a group are at the means of their posteriors.

    Args:
      model: Model of single images with latents.
      params: Its parameters.
      values: What the likelihood scores.
    """
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    sizes: list[int] = []
    for found in pieces_of_sets(_posterior_means, model, params, values):
        sizes = [group.shape[1] for group in found]
        new = np.concatenate(found, axis=1).astype(np.float64)
        centre, number, total = new.mean(axis=0), len(new), count + len(new)
        squares = squares + ((new - centre) ** 2).sum(axis=0) + (centre - mean) ** 2 * count * number / total
        mean, count = mean + (centre - mean) * number / total, total
    groups = np.split(squares / count > ACTIVE, np.cumsum(sizes)[:-1])
    return np.array([group.sum() for group in groups]), sizes


def _posterior_means(
    latents: LatentFunctions, params: Params, element_set: EncodedElement, mask: Array
) -> list[Float[Array, "images units"]]:
    levels: Any = latents.infer(params, element_set, mask, None)[0].levels
    return [level.example_latent.q.mean.reshape(len(mask), -1) for level in levels]


LATENT_USAGE = Evaluator(
    name="latent_usage",
    needs="latent variables of single images",
    requires=of_single_images,
    metrics=lambda config, model: {},
    validate=lambda task: {},
    evaluate=evaluate,
)

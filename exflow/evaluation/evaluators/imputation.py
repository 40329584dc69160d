"""Bounds on the log probability of hidden pixels given the observed ones, of models that impute.

Every image is scored under one mask, drawn as in training from the noise of the image, so that all models that hide the
same kind of pixels are scored alike. The importance-weighted bound, where `config.evaluation.marginal_samples` or
`importance_samples` asks for more than one draw, is of the first `marginal_sets` images.
"""

import functools

import jax
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from exflow.evaluation import encoding, results
from exflow.evaluation.evaluator import Entries, Evaluator, Task, plural
from exflow.evaluation.evaluators.importance import LATENTS, num_draws
from exflow.evaluation.evaluators.likelihood import describe_shape
from exflow.evaluation.metrics import detection
from exflow.evaluation.scoring.importance import importance
from exflow.evaluation.scoring.latents import elbo_terms
from exflow.model import Model, imputation_of
from exflow.typing import Context, Images, Params, PRNGKey

NAME = "imputation_nelbo"
Values = Float[np.ndarray, "images 1 height width more"]


def metrics(config: ConfigDict, model: Model) -> dict[str, str]:
    """`imputation_nelbo`, nats per image."""
    del config, model
    return {NAME: "min"}


def validate(task: Task) -> dict[str, float]:
    """The bound of one draw of the latents, divergences in closed form."""
    return {NAME: float(-_elbo(task, _scored(task)).mean())}


def evaluate(task: Task) -> Entries:
    """`<split>_imputation_nelbo`, of one draw, and `<split>_imputation_nll`, importance-weighted over many."""
    options, draws, split, values = task.config.evaluation, num_draws(task.config), task.split, _scored(task)
    what = f"-log p(hidden pixels | observed ones), {imputation_of(task.model).description}"
    shape = describe_shape(task.model)

    def entry(bounds: np.ndarray, how: str) -> dict:
        estimate = detection.mean_estimate(-bounds)
        images = plural(len(bounds), f"{split} image")
        protocol = f"bound on {what}; {images}, {shape}; {how}"
        return results.result(estimate.value, "nats/image", protocol, standard_error=estimate.standard_error)

    entries = {f"{split}_{NAME}": entry(_elbo(task, values), "1 draw of the latents, divergences in closed form")}
    if draws == 1:
        return entries
    some = values[: options.marginal_sets or len(values)]
    task.say(f"weighing {plural(draws, 'draw')} of the latents of {plural(len(some), f'{split} image')}")
    found = importance(task.model, task.params, some, jax.random.fold_in(task.key, LATENTS), draws)
    how = f"importance-weighted over {plural(draws, 'draw')} of the latents"
    return entries | {f"{split}_imputation_nll": entry(found.bound, how)}


def _elbo(task: Task, values: Values) -> Float[np.ndarray, " images"]:
    return elbo_terms(task.model, task.params, values, [jax.random.fold_in(task.key, LATENTS)]).elbo


def _scored(task: Task) -> Values:
    """What the likelihood scores of every image of the split: its pixels, and its mask."""
    of_values, size = _values_only(task.model), task.config.evaluation.batch_size
    key = jax.random.fold_in(task.key, 0)
    found = encoding.encode_split(of_values, task.params, key, task.image_sets, (0,), size, task.transform)
    return found[:, 0][task.image_sets.exists][:, None]


@functools.cache
def _values_only(model: Model) -> Model:
    """A model whose elements are nothing but what the likelihood scores; the encoder is then not computed."""

    def encode(params: Params, key: PRNGKey | None, x: Images, context: Context | None = None) -> Array:
        known = () if context is None else (context,)
        return model.encode(params, key, x, *known).values

    return model._replace(encode=encode)


IMPUTATION = Evaluator(
    name="imputation",
    needs="imputation of hidden pixels",
    requires=lambda model: model.imputation is not None and model.latents is not None,
    metrics=metrics,
    validate=validate,
    evaluate=evaluate,
)

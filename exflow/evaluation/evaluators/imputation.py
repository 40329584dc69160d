"""How well hidden pixels are imputed: bounds on their log probability given the observed ones, and squared errors.

Every image is scored under one mask, drawn as in training from the noise of the image, so that all models that hide the
same kind of pixels are scored alike. The importance-weighted bound, where `config.evaluation.marginal_samples` or
`importance_samples` asks for more than one draw, and squared errors are of the first `marginal_sets` images.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from exflow.core.likelihoods.hidden_pixels import split_mask
from exflow.evaluation import encoding, placement, results
from exflow.evaluation.chunks import in_chunks
from exflow.evaluation.evaluator import Entries, Evaluator, Task, plural
from exflow.evaluation.evaluators.importance import LATENTS, num_draws
from exflow.evaluation.evaluators.likelihood import describe_shape
from exflow.evaluation.metrics import detection
from exflow.evaluation.pictures.imputations import DRAWS
from exflow.evaluation.scoring.importance import importance
from exflow.evaluation.scoring.latents import elbo_terms, per_call
from exflow.model import Model, imputation_of
from exflow.typing import Params, PRNGKey

NAME = "imputation_nelbo"
ERRORS = 0x6D7365  # separates the draws of squared errors from those of bounds
Values = Float[np.ndarray, "images 1 height width more"]


def metrics(config: ConfigDict, model: Model) -> dict[str, str]:
    """`imputation_nelbo`, nats per image."""
    del config, model
    return {NAME: "min"}


def validate(task: Task) -> dict[str, float]:
    """The bound of one draw of the latents, divergences in closed form."""
    return {NAME: float(-_elbo(task, _scored(task)).mean())}


def evaluate(task: Task) -> Entries:
    """`<split>_imputation_nelbo`, of one draw, `_mse`, see `errors`, and `_nll`, importance-weighted over draws."""
    options, draws, split, values = task.config.evaluation, num_draws(task.config), task.split, _scored(task)
    hidden = imputation_of(task.model).description
    what = f"-log p(hidden pixels | observed ones), {hidden}"
    shape = describe_shape(task.model)

    def entry(bounds: np.ndarray, how: str) -> dict:
        estimate = detection.mean_estimate(-bounds)
        images = plural(len(bounds), f"{split} image")
        protocol = f"bound on {what}; {images}, {shape}; {how}"
        return results.result(estimate.value, "nats/image", protocol, standard_error=estimate.standard_error)

    some = values[: options.marginal_sets or len(values)]
    squared = errors(task, some)
    estimate = detection.mean_estimate(squared)
    protocol = f"mean of {plural(DRAWS, 'imputation')} against the hidden pixels, {hidden}"
    protocol += f"; {plural(len(squared), f'{split} image')}, {shape}"
    entries = {
        f"{split}_{NAME}": entry(_elbo(task, values), "1 draw of the latents, divergences in closed form"),
        f"{split}_imputation_mse": results.result(
            estimate.value, "(pixel/255)^2", protocol, standard_error=estimate.standard_error
        ),
    }
    if draws == 1:
        return entries
    task.say(f"weighing {plural(draws, 'draw')} of the latents of {plural(len(some), f'{split} image')}")
    found = importance(task.model, task.params, some, jax.random.fold_in(task.key, LATENTS), draws)
    how = f"importance-weighted over {plural(draws, 'draw')} of the latents"
    return entries | {f"{split}_imputation_nll": entry(found.bound, how)}


def errors(task: Task, values: Values) -> Float[np.ndarray, " images"]:
    """Mean over hidden pixels of the squared error of the mean of `DRAWS` imputations, pixels in [0, 1].

    Args:
      task: Of a model that imputes.
      values: The first images of the split under their masks, see `exflow.core.likelihoods.hidden_pixels`.
    """
    run = functools.partial(_squared_errors, task.model, task.params, jax.random.fold_in(task.key, ERRORS))
    return in_chunks(run, (task.images(len(values)), values[:, 0]), per_call(task.model, values.shape, DRAWS)[0])


@functools.partial(jax.jit, static_argnums=0)
def _squared_errors(model: Model, params: Params, key: PRNGKey, x: Array, values: Array) -> Float[Array, " images"]:
    def local(params: Params, key: PRNGKey, x: Array, values: Array) -> Array:
        observed = split_mask(values)[1]
        drawn = imputation_of(model).sample(params, key, x, observed, DRAWS)
        squares = jnp.square((drawn.astype(jnp.float32).mean(axis=0) - x) / 255.0)
        return squares.mean(axis=(1, 2, 3), where=jnp.broadcast_to(~observed, x.shape))

    return placement.data_parallel(local, 2, 2)(params, key, x, values)


def _elbo(task: Task, values: Values) -> Float[np.ndarray, " images"]:
    return elbo_terms(task.model, task.params, values, [jax.random.fold_in(task.key, LATENTS)]).elbo


def _scored(task: Task) -> Values:
    """What the likelihood scores of every image of the split: its pixels, and its mask."""
    of_values, size = encoding.values_only(task.model), task.config.evaluation.batch_size
    key = jax.random.fold_in(task.key, 0)
    found = encoding.encode_split(of_values, task.params, key, task.image_sets, (0,), size, task.transform)
    return found[:, 0][task.image_sets.exists][:, None]


IMPUTATION = Evaluator(
    name="imputation",
    needs="imputation of hidden pixels",
    requires=lambda model: model.imputation is not None and model.latents is not None,
    metrics=metrics,
    validate=validate,
    evaluate=evaluate,
)

"""Scores of unseen views of an object given some of its views, for models that know the context of every image.

Every set of views is divided into views that may be given and target views. The targets are the same for every number
of given views, so that scores can be compared.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betainc, erf
from jaxtyping import Array, Bool, Float, Int, UInt8

from exflow.core.gaussian_process import GaussianPredictive
from exflow.core.student_t_process import StudentTPredictive
from exflow.errors import UserError
from exflow.evaluation import cached, placement
from exflow.evaluation.chunks import in_chunks
from exflow.evaluation.scoring import likelihood
from exflow.model import Model, process_of, sets_of
from exflow.typing import Element, Params, State

NUM_GIVEN = (0, 1, 2, 4, 8)  # views
INTERVALS = (0.5, 0.9)  # central predictive intervals whose coverage is measured


class ViewSets(NamedTuple):
    """Sets of views of one object each, as rows of flattened [class, rotation, image] elements."""

    rows: Int[np.ndarray, "sets set"]  # the views that may be given come first
    mask: Bool[np.ndarray, "sets set"]  # False where an object has fewer views than the set has places
    numbers: tuple[int, ...]  # of given views, increasing, from 0

    @property
    def first_target(self) -> int:
        """Position of the first target."""
        return self.numbers[-1]


class ViewScores(NamedTuple):
    """Of every target; 0 where it does not exist."""

    log_prob: Float[Any, "sets targets"]  # nats
    coverage: Float[Any, "sets targets intervals"]  # share of the latent dimensions inside each of `INTERVALS`


def draw_view_sets(image_sets: Any, set_size: int, seed: int, numbers: tuple[int, ...] = NUM_GIVEN) -> ViewSets:
    """Divide the views of every object at random into sets.

    Args:
      image_sets: Split with `index` [num_classes, max_count] and `count` [num_classes].
      set_size: Views of a set.
      seed: Seed of the division.
      numbers: Wanted numbers of given views; those that leave no target are left out, and 0 is added.

    Returns:
      Sets with at least one target each.

    Raises:
      UserError: No object has two views.
    """
    count = np.asarray(image_sets.count)
    sets = likelihood.draw_sets(count, 1, image_sets.index.shape[1], set_size, seed)
    size = sets.mask.sum(axis=1)
    possible = tuple(sorted({number for number in (0, *numbers) if number < size.max()}))
    if len(possible) < 2:
        raise UserError(
            f"{image_sets.name}: expected objects of two views or more, got at most {size.max()} in a set. Use a data "
            "set of views, and config.evaluation.nll_set_size of at least 2."
        )
    enough = size > possible[-1]
    return ViewSets(sets.rows[enough], sets.mask[enough], possible)


def _states(model: Model, params: Params, flat: Element, number: Array, rows: Array, mask: Array) -> State:
    """State of each set after its first `number` views; `rows` and `mask` are those of the views that may be given."""
    given = mask & (jnp.arange(rows.shape[1])[None] < number)
    return sets_of(model).update(
        params, cached.empty_states(model, params, rows.shape[:1]), cached.gather(flat, rows), given
    )


def _for_each_target(states: State, num_targets: int) -> State:
    """Repeat states [sets] to [sets, targets]."""
    return jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf[:, None], (leaf.shape[0], num_targets, *leaf.shape[1:])), states
    )


def _flat(elements: Element) -> Element:
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[3:]), elements)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _score(
    model: Model, first_target: int, params: Params, elements: Element, number: Array, rows: Array, mask: Array
) -> ViewScores:
    def local(params: Params, elements: Element, number: Array, rows: Array, mask: Array) -> ViewScores:
        flat, exists = _flat(elements), mask[:, first_target:]
        states = _states(model, params, flat, number, rows[:, :first_target], mask[:, :first_target])
        targets = cached.gather(flat, rows[:, first_target:])
        log_prob = sets_of(model).log_prob(params, _for_each_target(states, exists.shape[1]), targets)
        inside = coverage(model, params, states, targets)
        return ViewScores(jnp.where(exists, log_prob, 0.0), jnp.where(exists[..., None], inside, 0.0))

    with jax.default_matmul_precision("highest"):
        return placement.data_parallel(local, 3, 2)(params, elements, number, rows, mask)


def coverage(model: Model, params: Params, states: State, targets: Any) -> Float[Array, "sets targets intervals"]:
    """Share of the latent dimensions of each target inside the central predictive `INTERVALS`.

    No interval for a model without `predictive`, or whose predictive is not Gaussian or Student-t.
    """
    predictive = None if model.process is None else model.process.predictive(params, states)
    if not isinstance(predictive, GaussianPredictive | StudentTPredictive):
        return jnp.zeros((*jax.tree.leaves(targets)[0].shape[:2], 0))
    mean, variance = predictive.mean[:, None], predictive.variance[:, None]
    square = (targets.z - mean) ** 2 / variance
    if isinstance(predictive, StudentTPredictive):
        nu = jnp.broadcast_to(predictive.degrees_of_freedom[:, None], square.shape)
        square = square * nu / (nu - 2)  # in units of the scale
        mass = 1 - betainc(nu / 2, jnp.full_like(nu, 0.5), nu / (nu + square))
    else:
        mass = erf(jnp.sqrt(square / 2))
    return jnp.stack([(mass <= interval).mean(axis=-1) for interval in INTERVALS], axis=-1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _predict(
    model: Model,
    first_target: int,
    params: Params,
    elements: Element,
    number: Array,
    rows: Array,
    mask: Array,
    context: Array,
) -> Array:
    process = process_of(model)

    def local(params: Params, elements: Element, number: Array, rows: Array, mask: Array, context: Array) -> Array:
        states = _states(model, params, _flat(elements), number, rows[:, :first_target], mask[:, :first_target])
        mean = process.predictive(params, states).mean
        return process.decode(params, jnp.broadcast_to(mean[:, None], (*context.shape[:2], mean.shape[-1])), context)

    return placement.data_parallel(local, 3, 3)(params, elements, number, rows, mask, context)


def score(model: Model, params: Params, elements: Element, sets: ViewSets, number: int) -> ViewScores:
    """Log-density of every target given the first `number` views of its set alone, and coverage of its latents.

    Args:
      model: Set model.
      params: Its parameters.
      elements: Cached elements [class, 1, image] of one noise draw.
      sets: Which views are given, and which are targets.
      number: Of given views, at most `sets.first_target`.

    Returns:
      Scores as NumPy arrays.
    """
    per_device = likelihood.CHUNK_BYTES // (cached.element_bytes(model, elements) * sets.rows.shape[1])
    run = functools.partial(_score, model, sets.first_target, params, elements, np.int32(number))
    return in_chunks(run, (sets.rows, sets.mask), _per_call(len(sets.rows), per_device))


def predict(
    model: Model,
    params: Params,
    elements: Element,
    sets: ViewSets,
    number: int,
    context: Float[np.ndarray, "sets targets context"],
    batch_size: int,
) -> UInt8[np.ndarray, "sets targets height width channels"]:
    """The predicted picture of every target: the mean, which is the median, of its latents sent back through the flow.

    Args:
      model: Set model with `predictive` and `decode`.
      params: Its parameters.
      elements: Cached elements [class, 1, image].
      sets: Which views are given.
      number: Of given views.
      context: Context of every target.
      batch_size: Images per call.

    Returns:
      Pixel-wise medians where the map from latents to pixels is monotonic, as at the start of training; images that
      look like the object where it is not.
    """
    run = functools.partial(_predict, model, sets.first_target, params, elements, np.int32(number))
    inputs = (sets.rows, sets.mask, context)
    return in_chunks(run, inputs, _per_call(len(sets.rows), batch_size // context.shape[1]))


def _per_call(total: int, per_device: int) -> int:
    """Sets of a call, at most so many per device."""
    return min(total, max(1, per_device) * placement.local_mesh().size)

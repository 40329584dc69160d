"""Images drawn from a set model given sets that grow, and how its predictive density narrows with them."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from exflow.evaluation import cached, compiled
from exflow.evaluation.pictures.grids import write_densities
from exflow.model import Model, sets_of
from exflow.typing import Element, Params, PRNGKey, State

CURVE_POINTS = 600
CURVE_MARGIN = 0.25  # of the range of the data, shown on both sides of it
INTEGRATION_MARGIN = 2.0  # the same for the normalisation, which must cover the mass of the density


@functools.partial(jax.jit, static_argnums=0)
def prefix_states(model: Model, params: Params, element_set: Element) -> State:
    """States after the first 0, 1, ..., n elements of a set.

    Args:
      model: Set model.
      params: Its parameters.
      element_set: Elements with leading axis [set] of length n.

    Returns:
      States with leading axis [n + 1].
    """
    size = jax.tree.leaves(element_set)[0].shape[0]
    repeated = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (size + 1, *leaf.shape)), element_set)
    mask = jnp.arange(size)[None, :] < jnp.arange(size + 1)[:, None]
    return sets_of(model).update(params, cached.empty_states(model, params, (size + 1,)), repeated, mask)


@jax.jit
def all_empty(states: State) -> State:
    """As many states as `prefix_states` gives, of the same shapes, all of the empty set."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), states)


def conditional_grid(
    model: Model, params: Params, key: PRNGKey, element_set: Element, num_rows: int, coherent: bool = False
) -> UInt8[np.ndarray, "rows columns height width channels"]:
    """Samples given the first 0, 1, ..., n elements of a set, one column for each; column 0 is the prior.

    Args:
      model: Set model.
      params: Its parameters.
      key: Random key.
      element_set: Elements with leading axis [set] of length n.
      num_rows: Samples per column.
      coherent: Whether the samples of a column are one set of the same unknown class, or independent draws (paper).

    Returns:
      Images, columns = n + 1.
    """
    states = prefix_states(model, params, element_set)
    return np.asarray(compiled.sample(model, params, states, key, num_rows, coherent))


def prior_grid(
    model: Model,
    params: Params,
    key: PRNGKey,
    num_rows: int,
    num_columns: int,
    coherent: bool = False,
    states: State | None = None,
) -> UInt8[np.ndarray, "rows columns height width channels"]:
    """Samples given nothing; if `coherent`, every row is a set of one invented class.

    Args:
      model: Set model.
      params: Its parameters.
      key: Random key.
      num_rows: Rows.
      num_columns: Samples per row.
      coherent: Whether the images of a row share their class.
      states: States [row] of empty sets; those of `all_empty` need no other program than samples given a set.

    Returns:
      Images.
    """
    states = compiled.empty_states(model, params, (num_rows,)) if states is None else states
    return np.asarray(compiled.sample(model, params, states, key, num_columns, coherent)).swapaxes(0, 1)


def informative_dimensions(z: Float[np.ndarray, "classes images dim"], number: int) -> Int[np.ndarray, " number"]:
    """Latent dimensions by their intra-class correlation in data: the highest ones, and last the median one.

    Args:
      z: Latents of several images of several classes.
      number: How many; at least 1.

    Returns:
      Indices of dimensions.
    """
    z = np.asarray(z, np.float64)
    within = z.var(axis=1, ddof=1).mean(axis=0)
    between = np.maximum(z.mean(axis=1).var(axis=0, ddof=1) - within / z.shape[1], 0.0)
    order = np.argsort(-between / np.maximum(between + within, 1e-30))
    median = order[len(order) // 2]
    best = [dimension for dimension in order[:number] if dimension != median]
    return np.asarray([*best[: number - 1], median])


@functools.partial(jax.jit, static_argnums=0)
def _grid_log_probs(
    model: Model, params: Params, states: State, element: Any, dimensions: Array, points: Array
) -> Array:
    """Log-density of one element with one latent dimension moved, [state, panel, point]."""

    def moved(dimension: Array, value: Array) -> Any:
        return element._replace(z=element.z.at[dimension].set(value))

    elements = jax.vmap(jax.vmap(moved, in_axes=(None, 0)))(dimensions, points)

    def under(state: State) -> Array:
        many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*points.shape, *leaf.shape)), state)
        return sets_of(model).log_prob(params, many, elements)

    return jax.lax.map(under, states)


def predictive_densities(
    model: Model,
    params: Params,
    element_set: Any,
    element: Any,
    dimensions: Int[np.ndarray, " panels"],
    points: Float[np.ndarray, "panels points"],
    counts: Sequence[int],
) -> Float[np.ndarray, "counts panels points"]:
    """Predictive density of single latent dimensions, after some of the elements of a set.

    Works for every model whose elements have a latent vector `z`. It is computed from `log_prob` alone: one coordinate
    of `element` moves while the others stay, and the result is normalised over `points`. For BRUNO, whose dimensions
    are independent, it is the exact predictive density.

    Args:
      model: Set model.
      params: Its parameters.
      element_set: Elements with leading axis [set].
      element: One more element, whose other coordinates are kept.
      dimensions: Latent dimensions, one per panel.
      points: Increasing values at which to give the density; must cover its mass.
      counts: Numbers of elements seen, 0..set.

    Returns:
      Densities per unit of the latent dimension.
    """
    states = prefix_states(model, params, element_set)
    chosen = jax.tree.map(lambda leaf: leaf[np.asarray(counts)], states)
    log_probs = np.asarray(
        _grid_log_probs(model, params, chosen, element, jnp.asarray(dimensions), jnp.asarray(points, jnp.float32)),
        np.float64,
    )
    densities = np.exp(log_probs - log_probs.max(axis=-1, keepdims=True))
    return densities / np.trapezoid(densities, points[None], axis=-1)[..., None]


def predictive_figure(path: Path, model: Model, params: Params, elements: Any, label: int, num_panels: int = 4) -> Path:
    """Draw how the predictive density of single latent dimensions narrows around the images of one class.

    Args:
      path: PNG file.
      model: Set model.
      params: Its parameters.
      elements: Cached elements [class, rotation, image] with a field `z`; every class needs three images or more.
      label: Class to show, unrotated; its last image is not observed.
      num_panels: Number of latent dimensions: those that tell classes apart best, and one of median worth.

    Returns:
      `path`.
    """
    z = np.asarray(elements.z)[:, 0]
    dimensions = informative_dimensions(z, min(num_panels, z.shape[-1]))
    low, high = z[..., dimensions].min(axis=(0, 1)), z[..., dimensions].max(axis=(0, 1))
    width = np.maximum(high - low, 1e-3)
    wide = INTEGRATION_MARGIN * width
    points = np.linspace(low - wide, high + wide, CURVE_POINTS, axis=-1).astype(np.float64)
    limits = np.stack([low - CURVE_MARGIN * width, high + CURVE_MARGIN * width], axis=-1).astype(np.float64)
    one = jax.tree.map(lambda leaf: np.asarray(leaf[label, 0]), elements)
    size = len(one.z)
    counts = sorted({0, 1, min(3, size - 1), size - 1})
    seen = jax.tree.map(lambda leaf: leaf[:-1], one)
    last = jax.tree.map(lambda leaf: leaf[-1], one)
    densities = predictive_densities(model, params, seen, last, dimensions, points, counts)
    names = ["prior" if count == 0 else f"after {count}" for count in counts]
    panels = [f"latent {dimension}" for dimension in dimensions]
    panels[-1] += " (median)"
    return write_densities(path, points, densities, names, panels, seen.z[:, dimensions].astype(np.float64), limits)

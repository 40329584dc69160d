"""PNG files of sets of vectors, drawn with matplotlib: histograms of numbers, scatter plots of points in the plane."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from exflow.evaluation import compiled, encoding, placement
from exflow.evaluation.spread import evenly_spread
from exflow.model import Model
from exflow.typing import Params

COLUMNS = 4  # sets beside each other
BINS = 40
NUM_NUMBERS = 2000  # drawn for a histogram; of points as many as were given
MAX_GIVEN = 2000  # vectors of a set
SEED = 0x76656374  # separates the samples from other random numbers
INK = "#1f4e9c"


def write_vector_samples(
    config: ConfigDict,
    workdir: Path,
    model: Model,
    params: Params,
    image_sets: Any,
    notify: Callable[[str], None] = print,
) -> list[Path]:
    """Draw sets of vectors given sets, and of invented classes, and write them to `samples/*.png`.

    `conditional.png`: of numbers the histograms of given sets (grey) and of a set drawn given each (line); of points in
    the plane the given sets, and below each a set drawn given it. `prior.png`: sets drawn given nothing. Longer vectors
    have no picture.

    Args:
      config: Complete configuration.
      workdir: Working directory.
      model: Set model of vectors.
      params: Its parameters.
      image_sets: Split whose sets are given; `config.evaluation.num_sample_rows` of them, evenly spread.
      notify: Called with a line that names the folder.

    Returns:
      Files written.
    """
    dim, folder, count = model.image_shape[-1], Path(workdir) / "samples", np.asarray(image_sets.count)
    number = min(config.evaluation.num_sample_rows, len(count))
    if number == 0:
        return []
    if dim > 2:
        notify(f"no pictures of samples: elements are vectors of {dim}")
        return []
    size = int(min(count.max(), MAX_GIVEN))
    full = np.flatnonzero(count >= size)
    chosen = evenly_spread(full, number)
    given = np.asarray(image_sets.images)[image_sets.index[chosen, :size]]
    key = jax.random.fold_in(jax.random.key(config.training.seed), SEED)
    num_samples = NUM_NUMBERS if dim == 1 else size
    batch_size = config.evaluation.batch_size
    drawn = draw_given_sets(model, params, key, given, num_samples, batch_size)
    invented = draw_given_sets(model, params, key, given[:, :0], num_samples, batch_size)
    given = given.reshape(len(chosen), size, dim)
    names = [f"set {class_id}" for class_id in np.asarray(image_sets.class_ids)[chosen]]
    ranges = shown_ranges(given)
    written = [
        write_sets(folder / "conditional.png", drawn, ranges, given, names),
        write_sets(folder / "prior.png", invented, ranges),
    ]
    notify(f"{len(written)} pictures in {folder}")
    return written


def draw_given_sets(
    model: Model,
    params: Params,
    key: Any,
    given: Float[np.ndarray, "sets given 1 1 dim"],
    num_samples: int,
    batch_size: int,
) -> Float[np.ndarray, "sets {num_samples} dim"]:
    """For each given set, which may be empty, a set of the same unknown class.

    Args:
      model: Set model of vectors.
      params: Its parameters.
      key: Random key.
      given: Vectors.
      num_samples: Vectors of a drawn set.
      batch_size: Vectors per encoding call.
    """
    sets, size, *_, dim = given.shape
    params = placement.on_one_device(params)
    states = compiled.empty_states(model, params, (sets,))
    if size:
        elements = encoding.encode_images(model, params, None, given.reshape(-1, 1, 1, dim), batch_size)
        elements = jax.tree.map(lambda leaf: leaf.reshape(sets, size, *leaf.shape[1:]), elements)
        states = compiled.update(model, params, states, elements, np.ones((sets, size), bool))
    samples = compiled.sample(model, params, states, key, num_samples, True)
    return np.asarray(samples).reshape(num_samples, sets, dim).swapaxes(0, 1)


def shown_ranges(x: Float[np.ndarray, "sets set dim"]) -> Float[np.ndarray, "dim 2"]:
    """Range to show of each entry: nearly all given values and a margin, whatever a model draws besides."""
    low, high = np.quantile(x.reshape(-1, x.shape[-1]), (0.002, 0.998), axis=0)
    margin = 0.1 * np.maximum(high - low, 1e-3)
    return np.stack([low - margin, high + margin], axis=-1)


def write_sets(
    path: Path,
    drawn: Float[np.ndarray, "sets _ dim"],
    ranges: Float[np.ndarray, "dim 2"],
    given: Float[np.ndarray, "sets _ dim"] | None = None,
    names: Sequence[str] | None = None,
) -> Path:
    """Write one panel per set: histograms of numbers; of points given sets above drawn ones.

    Args:
      path: PNG file; its folder is made.
      drawn: Sets drawn from a model, of numbers or points in the plane.
      ranges: Shown range of every entry.
      given: The set that each was drawn from, if any.
      names: Titles.

    Returns:
      `path`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    numbers, columns = drawn.shape[-1] == 1, min(COLUMNS, len(drawn))
    stacked = 1 if numbers or given is None else 2  # panels of a set, one above the other
    rows = stacked * -(-len(drawn) // columns)
    figure = Figure(figsize=(2.4 * columns, (1.8 if numbers else 2.4) * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for at, one in enumerate(drawn):
        row, column = divmod(at, columns)
        top, bottom = panels[stacked * row, column], panels[stacked * row + stacked - 1, column]
        if numbers:
            bottom.set_axis_on()
            if given is not None:
                _histogram(bottom, given[at, :, 0], ranges[0], color="0.8")
            _histogram(bottom, one[:, 0], ranges[0], color=INK, histtype="step")
            bottom.set_yticks([])
            bottom.tick_params(labelsize=7)
        else:
            if given is not None:
                scatter(top, given[at], ranges, "black")
            scatter(bottom, one, ranges, INK)
        if names is not None:
            top.set_title(names[at], fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def scatter(
    axes: Any, points: Float[np.ndarray, "_ 2"], ranges: Float[np.ndarray, "2 2"], color: str, size: float = 9.0
) -> None:
    """Points in the plane in one panel with a frame, both axes on the same scale."""
    axes.set_axis_on()
    axes.scatter(points[:, 0], points[:, 1], s=size, color=color, linewidths=0)
    axes.set(xlim=ranges[0], ylim=ranges[1], xticks=[], yticks=[], aspect="equal")


def _histogram(axes: Any, x: Float[np.ndarray, " num"], shown: Float[np.ndarray, "2"], **style: Any) -> None:
    """Densities per bin; what lies outside of the shown range counts, so that areas can be compared."""
    bins = np.linspace(shown[0], shown[1], BINS + 1)
    axes.hist(x, bins, weights=np.full(len(x), 1 / (len(x) * (bins[1] - bins[0]))), **style)

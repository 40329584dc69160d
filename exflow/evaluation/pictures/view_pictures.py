"""The PNG files in `samples/` of models that know the angle of every image: unseen views and invented objects."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from ml_collections import ConfigDict
from PIL import Image, ImageDraw, ImageFont

from exflow.evaluation import cached, compiled, encoding, placement
from exflow.evaluation.pictures.grids import MIN_CELL, save, tile, visible
from exflow.evaluation.spread import evenly_spread
from exflow.model import Model, sets_of
from exflow.typing import Params

COLUMNS = 12  # views of an object
NUM_GIVEN = (1, 4)  # views; one picture of every object for each
SAMPLE_ROWS = 4
PRIOR_DEGREES = np.arange(0.0, 360.0, 20.0)
PRIOR_ROWS = 4
OVERVIEW_WIDTH = 2  # objects beside each other
FRAME = 3  # pixels around every view, in colour where it is given
FRAME_COLOR = (200, 30, 30)
SEED = 0x76696577  # separates the noise and the samples from other random numbers


def write_view_samples(
    config: ConfigDict,
    workdir: Path,
    model: Model,
    params: Params,
    image_sets: Any,
    transform: Callable[[np.ndarray], Any] | None,
    notify: Callable[[str], None],
) -> list[Path]:
    """Draw samples of a conditional model and write them to `samples/*.png`.

    `views_<k>.png`: of several objects the true views in the order of their angles, k of them framed and given; below,
    the picture of the mean predictive latent, then samples for every angle, drawn independently as in the published
    code. `views_<k>_coherent.png`: the same, every row of samples being one object. `prior.png` and
    `prior_coherent.png`: given nothing, angles 0, 20, ..., 340 degrees.

    Args:
      config: Complete configuration.
      workdir: Working directory.
      model: Set model with `context_dim` 2.
      params: Its parameters.
      image_sets: Split whose objects are shown; `config.evaluation.num_sample_rows` of them, evenly spread.
      transform: Applied to uint8 images [n, H, W, C] before they are encoded.
      notify: Called with a line that names the folder.

    Returns:
      Files written.
    """
    folder, key = Path(workdir) / "samples", jax.random.fold_in(jax.random.key(config.training.seed), SEED)
    noise_key, view_key, prior_key = jax.random.split(key, 3)
    rows = choose_views(image_sets, config.evaluation.num_sample_rows)
    if not len(rows):
        return []
    context = np.asarray(image_sets.context)[rows]
    truth = np.asarray(image_sets.images)[rows]
    if transform is not None:
        flat = np.asarray(transform(truth.reshape(-1, *truth.shape[2:])))
        truth = flat.reshape(*rows.shape, *flat.shape[1:])
    flat_context = context.reshape(-1, context.shape[-1])
    pixels = truth.reshape(-1, *truth.shape[2:])
    elements = encoding.encode_images(
        model, params, noise_key, pixels, config.evaluation.batch_size, context=flat_context
    )
    elements = jax.tree.map(lambda leaf: leaf.reshape(*rows.shape, *leaf.shape[1:]), elements)
    params = placement.on_one_device(params)
    written = []
    numbers = [number for number in sorted({*NUM_GIVEN, sets_of(model).num_given}) if 0 < number < rows.shape[1]]
    for number in numbers:
        given = np.zeros(rows.shape[1], bool)
        given[np.arange(number) * rows.shape[1] // number] = True
        states = _states_after(model, params, elements, np.broadcast_to(given, rows.shape))
        mean = _mean_pictures(model, params, states, context)
        for name, coherent in ((f"views_{number}", False), (f"views_{number}_coherent", True)):
            samples = _sample_views(model, params, states, view_key, context, coherent)
            pictures = [
                sheet([truth[at], *([] if mean is None else [mean[at]]), *samples[at]], given, _titles(context[at]))
                for at in range(len(rows))
            ]
            written.append(save(folder / f"{name}.png", tile(pictures, OVERVIEW_WIDTH)))
    radians = np.deg2rad(PRIOR_DEGREES)
    context = np.stack([np.sin(radians), np.cos(radians)], axis=-1).astype(np.float32)[None]
    states = jax.tree.map(np.asarray, compiled.empty_states(model, params, (1,)))
    for name, coherent in (("prior", False), ("prior_coherent", True)):
        samples = _sample_views(model, params, states, prior_key, context, coherent, PRIOR_ROWS)
        written.append(save(folder / f"{name}.png", sheet(list(samples[0]), None, _titles(context[0]))))
    notify(f"{len(written)} pictures in {folder}")
    return written


def choose_views(image_sets: Any, num_objects: int) -> Int[np.ndarray, "objects columns"]:
    """Rows of the images of evenly spread objects, each with evenly spread views in the order of their angles."""
    count = np.asarray(image_sets.count)
    columns = min(COLUMNS, int(count.max(initial=0)))
    full = np.flatnonzero(count >= columns)
    chosen = evenly_spread(full, num_objects)
    rows = []
    for label in chosen:
        images = np.asarray(image_sets.index)[label, : count[label]]
        images = images[np.argsort(degrees(np.asarray(image_sets.context)[images]), kind="stable")]
        rows.append(images[np.arange(columns) * len(images) // columns])
    return np.asarray(rows, np.int32).reshape(len(chosen), columns)


def degrees(context: Float[np.ndarray, "*lead 2"]) -> Float[np.ndarray, "*lead"]:
    """Angles in [0, 360) of (sin, cos)."""
    return np.rad2deg(np.arctan2(context[..., 0].astype(np.float64), context[..., 1])).round(3) % 360


def _titles(context: Float[np.ndarray, "columns 2"]) -> list[str]:
    return [f"{angle:.0f}" for angle in degrees(context)]


@functools.partial(jax.jit, static_argnums=0)
def _states_after(model: Model, params: Params, elements: Any, given: Any) -> Any:
    return sets_of(model).update(params, cached.empty_states(model, params, given.shape[:1]), elements, given)


def _sample_views(
    model: Model,
    params: Params,
    states: Any,
    key: Any,
    context: Float[np.ndarray, "objects columns 2"],
    coherent: bool,
    num_rows: int = SAMPLE_ROWS,
) -> UInt8[np.ndarray, "objects rows columns height width channels"]:
    """Rows of samples, one column for every context; if `coherent`, every row is one object."""
    states = jax.tree.map(
        lambda leaf: np.broadcast_to(np.asarray(leaf)[:, None], (leaf.shape[0], num_rows, *leaf.shape[1:])), states
    )
    wanted = np.moveaxis(context, 1, 0)[:, :, None]
    wanted = np.ascontiguousarray(np.broadcast_to(wanted, (*wanted.shape[:2], num_rows, wanted.shape[-1])))
    samples = compiled.sample(model, params, states, key, context.shape[1], coherent, wanted)
    return np.moveaxis(np.asarray(samples), 0, 2)


def _mean_pictures(
    model: Model, params: Params, states: Any, context: Float[np.ndarray, "objects columns 2"]
) -> UInt8[np.ndarray, "objects columns height width channels"] | None:
    """The picture of the mean predictive latent for every context; None for a model without one."""
    if model.process is None:
        return None
    mean = np.asarray(model.process.predictive(params, states).mean)
    latents = np.broadcast_to(mean[:, None], (*context.shape[:2], mean.shape[-1]))
    return np.asarray(jax.jit(model.process.decode)(params, latents, context))


def sheet(
    rows: Sequence[UInt8[np.ndarray, "columns height width channels"]],
    framed: Bool[np.ndarray, " columns"] | None = None,
    titles: Sequence[str] | None = None,
) -> Image.Image:
    """Rows of images in colour; in the first row some have a frame.

    Args:
      rows: Images; pixels 0..255, one to four channels.
      framed: Images of the first row to frame.
      titles: One short title per column.

    Returns:
      Picture, images enlarged without smoothing.
    """
    rows = [visible(images) for images in rows]
    columns, height, width, _ = rows[0].shape
    factor, top = max(1, -(-MIN_CELL // max(height, width))), 14 if titles else 0
    cell_height, cell_width = factor * height + 2 * FRAME, factor * width + 2 * FRAME
    canvas = np.full((top + len(rows) * cell_height, columns * cell_width, 3), 255, np.uint8)
    for place, images in enumerate(rows):
        for column, image in enumerate(images):
            y, x = top + place * cell_height, column * cell_width
            if framed is not None and place == 0 and framed[column]:
                canvas[y : y + cell_height, x : x + cell_width] = FRAME_COLOR
            inside = canvas[y + FRAME : y + cell_height - FRAME, x + FRAME : x + cell_width - FRAME]
            inside[:] = image.repeat(factor, axis=0).repeat(factor, axis=1)
    picture = Image.fromarray(canvas)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default()
    for column, title in enumerate(titles or []):
        draw.text((column * cell_width + cell_width // 2, 1), title, fill=(60,) * 3, font=font, anchor="ma")
    return picture

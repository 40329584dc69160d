"""The PNG files in `samples/` of models of single images: samples, reconstructions, samples that share top latents."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from ml_collections import ConfigDict

from exflow.data.registry import ImageSets
from exflow.evaluation import compiled, placement
from exflow.evaluation.encoding import Transform
from exflow.evaluation.evaluator import Say
from exflow.evaluation.pictures.grids import grid_picture, looks_inverted, save
from exflow.evaluation.spread import evenly_spread
from exflow.model import Model, latents_of
from exflow.typing import Params, PRNGKey

COLUMNS = 12
SEED = 0x696D61  # separates these samples from other random numbers


def write_image_samples(
    config: ConfigDict,
    workdir: Path,
    model: Model,
    params: Params,
    image_sets: ImageSets,
    transform: Transform | None,
    notify: Say,
) -> list[Path]:
    """Draw samples of single images and write them to `samples/*.png`.

    `prior.png`: samples. `reconstructions.png`: images of the split, each above its reconstruction by the means of its
    latents. `top_<k>_frozen.png`, for models that can draw lower latents anew, with k = 1, half and all but one of the
    groups: the images of a row share the latents of the k groups from the top.

    Args:
      config: Complete configuration; `config.evaluation.num_sample_rows` rows are drawn.
      workdir: Working directory.
      model: Model of single images with latents.
      params: Its parameters.
      image_sets: Split whose images are reconstructed, evenly spread.
      transform: Applied to uint8 images [n, H, W, C] before they are encoded.
      notify: Called with a line that names the folder.

    Returns:
      Files written.
    """
    folder, rows = Path(workdir) / "samples", config.evaluation.num_sample_rows
    if rows == 0:
        return []
    invert = looks_inverted(np.asarray(image_sets.images))
    key = jax.random.fold_in(jax.random.key(config.training.seed), SEED)
    noise_key, prior_key, frozen_key = jax.random.split(key, 3)
    params = placement.on_one_device(params)
    empty = compiled.empty_states(model, params, (rows,))
    prior = np.asarray(compiled.sample(model, params, empty, prior_key, COLUMNS, False)).swapaxes(0, 1)
    written = [save(folder / "prior.png", grid_picture(prior, None, invert))]

    own = np.asarray(image_sets.index)[image_sets.exists]
    shown = np.asarray(image_sets.images)[evenly_spread(own, rows * COLUMNS)]
    shown = shown if transform is None else np.asarray(transform(shown))
    shown = np.resize(shown, (rows, COLUMNS, *shown.shape[1:]))
    elements = model.encode(params, noise_key, jnp.asarray(shown))
    again = np.asarray(compiled.reconstruct(model, params, elements, np.ones(shown.shape[:2], bool)))
    pairs = np.stack([shown, again], axis=1).reshape(2 * rows, *shown.shape[1:])
    names = ["image", "reconstructed"] * rows
    written.append(save(folder / "reconstructions.png", grid_picture(pairs, None, invert, names=names)))

    if latents_of(model).regenerate is not None:
        groups = len(jax.eval_shape(functools.partial(_groups, model, rows), params, frozen_key))
        for frozen in sorted({1, groups // 2, groups - 1} - {0}):
            grid = np.asarray(_frozen(model, rows, frozen, params, frozen_key))
            titles = [f"latents {row + 1}" for row in range(rows)]
            written.append(save(folder / f"top_{frozen}_frozen.png", grid_picture(grid, None, invert, names=titles)))
    notify(f"{len(written)} pictures in {folder}")
    return written


def _groups(model: Model, rows: int, params: Params, key: PRNGKey) -> tuple[Array, ...]:
    """Latents of all groups of an image per row, from the prior, [row, 1, ...]."""
    drawn = latents_of(model).generate(params, key, (rows, 1))[0]
    return tuple(level.example_latent.value for level in drawn.levels)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _frozen(model: Model, rows: int, frozen: int, params: Params, key: PRNGKey) -> Array:
    """Images [row, column, ...] of which those of a row share the latents of so many groups, from the top."""
    latents = latents_of(model)
    assert latents.regenerate is not None
    shared_key, key = jax.random.split(key)
    given = tuple(value.repeat(COLUMNS, axis=1) for value in _groups(model, rows, params, shared_key)[:frozen])
    law = latents.likelihood_of(params)
    return law.to_pixels(law.mean(latents.regenerate(params, key, given)[1]))

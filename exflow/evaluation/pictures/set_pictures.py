"""The PNG files in `samples/` of models of sets of images: given images above samples, samples of invented classes."""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from exflow.data.registry import ImageSets
from exflow.evaluation import encoding, placement
from exflow.evaluation.encoding import Transform
from exflow.evaluation.evaluator import Say
from exflow.evaluation.pictures import sampling
from exflow.evaluation.pictures.grids import grid_picture, looks_inverted, save, tile
from exflow.evaluation.spread import evenly_spread
from exflow.model import Model
from exflow.typing import Params

SAMPLE_ROWS = 4  # below each row of given images, as in the paper
OVERVIEW_ROWS = 2  # the same in the picture of several classes
OVERVIEW_COLUMNS = 9  # prior and after 1..8 images
OVERVIEW_WIDTH = 2  # classes beside each other
MAX_OBSERVATIONS = 20
SEED = 0x73616D70  # separates the noise and the samples from other random numbers


def write_set_samples(
    config: ConfigDict,
    workdir: Path,
    model: Model,
    params: Params,
    image_sets: ImageSets,
    transform: Transform | None,
    notify: Say,
) -> list[Path]:
    """Draw samples of sets and write them to `samples/*.png`.

    `class_<id>.png`: given images above samples after 0, 1, ..., n of them (column k has seen the first k), drawn
    independently. `conditional.png` and `conditional_coherent.png`: the same for several classes, the second with the
    samples of a column as one set of the same class. `prior.png` and `prior_coherent.png`: given nothing; in the
    second every row is a set of one invented class. `predictive.png`: predictive densities of single latent
    dimensions, for models with a process of their latents.

    Args:
      config: Complete configuration.
      workdir: Working directory.
      model: Model of sets of images without contexts.
      params: Its parameters.
      image_sets: Split whose classes are shown; `config.evaluation.num_sample_rows` of them, evenly spread.
      transform: Applied to uint8 images [n, H, W, C] before they are encoded.
      notify: Called with a line that names the folder.

    Returns:
      Files written.
    """
    folder = Path(workdir) / "samples"
    count = np.asarray(image_sets.count)
    number = min(config.evaluation.num_sample_rows, len(count))
    if number == 0:
        return []
    size = int(min(count.max(), MAX_OBSERVATIONS))
    full = np.flatnonzero(count >= size)
    chosen = evenly_spread(full, number)
    shown = image_sets._replace(index=image_sets.index[chosen, :size], count=np.full(len(chosen), size))
    support = np.asarray(image_sets.images)[shown.index]
    if transform is not None:
        flat = np.asarray(transform(support.reshape(-1, *support.shape[2:])))
        support = flat.reshape(*shown.index.shape, *flat.shape[1:])
    invert = looks_inverted(np.asarray(image_sets.images))
    key = jax.random.fold_in(jax.random.key(config.training.seed), SEED)
    noise_key, conditional_key, coherent_key, prior_key = jax.random.split(key, 4)
    elements = encoding.encode_split(model, params, noise_key, shown, (0,), config.evaluation.batch_size, transform)
    params = placement.on_one_device(params)
    titles = ["prior", *map(str, range(1, size + 1))]
    written: list[Path] = []

    def write(name: str, picture: Image.Image) -> None:
        written.append(save(folder / f"{name}.png", picture))

    def grids(key: Any, coherent: bool) -> list[np.ndarray]:
        sets = [jax.tree.map(lambda leaf, at=at: leaf[at, 0], elements) for at in range(len(chosen))]
        keys = jax.random.split(key, len(sets))
        return [
            sampling.conditional_grid(model, params, keys[at], element_set, SAMPLE_ROWS, coherent)
            for at, element_set in enumerate(sets)
        ]

    def overview(samples: list[np.ndarray]) -> Image.Image:
        columns = min(OVERVIEW_COLUMNS, size + 1)
        pictures = [
            grid_picture(grid[:OVERVIEW_ROWS, :columns], given[: columns - 1], invert, titles[:columns])
            for grid, given in zip(samples, support, strict=True)
        ]
        return tile(pictures, OVERVIEW_WIDTH)

    independent = grids(conditional_key, coherent=False)
    for label, grid, given in zip(chosen, independent, support, strict=True):
        write(f"class_{int(np.asarray(image_sets.class_ids)[label])}", grid_picture(grid, given, invert, titles))
    write("conditional", overview(independent))
    write("conditional_coherent", overview(grids(coherent_key, coherent=True)))
    one = jax.tree.map(lambda leaf: leaf[0, 0], elements)
    empty = sampling.all_empty(sampling.prefix_states(model, params, one))
    prior = functools.partial(sampling.prior_grid, num_rows=size + 1, num_columns=SAMPLE_ROWS, states=empty)
    alone = [prior(model, params, one) for one in (prior_key, jax.random.fold_in(prior_key, 1))]
    write("prior", grid_picture(np.concatenate(alone, axis=1).swapaxes(0, 1), None, invert))
    names = [f"set {number}" for number in range(1, size + 2)]
    write("prior_coherent", grid_picture(prior(model, params, prior_key, coherent=True), None, invert, names=names))
    if model.process is not None and size >= 3 and len(chosen) >= 2:
        written.append(sampling.predictive_figure(folder / "predictive.png", model, params, elements, len(chosen) // 2))
    notify(f"{len(written)} pictures in {folder}")
    return written

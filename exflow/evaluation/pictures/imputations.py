"""Pictures of hidden pixels and what a model makes of them."""

from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from exflow.data.registry import ImageSets
from exflow.evaluation import compiled, encoding
from exflow.evaluation.encoding import Transform
from exflow.evaluation.evaluator import Say
from exflow.evaluation.pictures.grids import grid_picture, looks_inverted, save
from exflow.evaluation.spread import evenly_spread
from exflow.model import Model, imputation_of
from exflow.typing import Params

SHOWN = 6  # imputations of an image beside each other
DRAWS = 32  # that the mean is of
HIDDEN = 128  # grey of hidden pixels
SEED = 0x696D7075  # separates masks and draws from other random numbers


def write_imputations(
    config: ConfigDict,
    workdir: Path,
    model: Model,
    params: Params,
    image_sets: ImageSets,
    transform: Transform | None = None,
    notify: Say = print,
) -> list[Path]:
    """Impute what masks as in training hide, to `samples/imputations.png`.

    A row is an image, the same with its hidden pixels grey, several imputations, and the mean of many. There are
    `config.evaluation.num_sample_rows` of them, spread evenly over the split.

    Args:
      config: Complete configuration.
      workdir: Working directory.
      model: What was trained.
      params: Its parameters.
      image_sets: Split whose images are shown.
      transform: Applied to images [n, H, W, C] before the model sees them; None: the means of
        `config.data.downscale`.
      notify: Called with a line that names the file.

    Returns:
      Files written.

    Raises:
      UserError: The model imputes nothing.
    """
    imputation, rows = imputation_of(model), config.evaluation.num_sample_rows
    if rows == 0:
        return []
    transform = transform or encoding.downscaling(config.data.downscale)
    own = np.asarray(image_sets.index)[image_sets.exists]
    images = np.asarray(image_sets.images)[evenly_spread(own, rows)]
    images = images if transform is None else np.asarray(transform(images))
    mask_key, key = jax.random.split(jax.random.fold_in(jax.random.key(config.training.seed), SEED))
    observed = np.asarray(imputation.observed(mask_key, len(images)))
    drawn = np.asarray(compiled.impute(model, params, key, images, observed, DRAWS))
    mean = np.round(drawn.mean(axis=0)).astype(np.uint8)
    columns = [images, np.where(observed, images, HIDDEN).astype(np.uint8), *drawn[:SHOWN], mean]
    titles = ["image", "observed", *(f"draw {number + 1}" for number in range(SHOWN)), f"mean of {DRAWS}"]
    invert = looks_inverted(np.asarray(image_sets.images))
    picture = grid_picture(np.stack(columns, axis=1), None, invert, titles)
    written = save(Path(workdir) / "samples" / "imputations.png", picture)
    notify(f"{imputation.description}: {written}")
    return [written]

"""The PNG files in `samples/`, by what a model can do."""

from pathlib import Path

from ml_collections import ConfigDict

from exflow.data.registry import ImageSets
from exflow.evaluation import encoding
from exflow.evaluation.encoding import Transform
from exflow.evaluation.evaluator import Say
from exflow.evaluation.pictures.code_pictures import write_code_pictures
from exflow.evaluation.pictures.image_pictures import write_image_samples
from exflow.evaluation.pictures.imputations import write_imputations
from exflow.evaluation.pictures.set_pictures import write_set_samples
from exflow.evaluation.pictures.vector_pictures import write_vector_samples
from exflow.evaluation.pictures.view_pictures import write_view_samples
from exflow.model import FittedCodes, Model
from exflow.typing import Params


def write_samples(
    config: ConfigDict,
    workdir: Path,
    model: Model,
    params: Params,
    image_sets: ImageSets,
    transform: Transform | None = None,
    notify: Say = print,
    fitted: FittedCodes | None = None,
) -> list[Path]:
    """Draw samples and write them to `samples/*.png`.

    Models of sets of images give the files of `set_pictures.write_set_samples`, those of single images with latents the
    files of `image_pictures.write_image_samples`, those that know the context of every
    image the files of `view_pictures.write_view_samples`, and models of vectors those of
    `vector_pictures.write_vector_samples`. Models that impute hidden pixels give the file of
    `imputations.write_imputations`, models of codes those of `code_pictures.write_code_pictures`.

    Args:
      config: Complete configuration.
      workdir: Working directory.
      model: What was trained.
      params: Its parameters.
      image_sets: Split whose classes are shown; `config.evaluation.num_sample_rows` of them, evenly spread.
      transform: Applied to images [n, H, W, C] before they are encoded; None: the means of `config.data.downscale`.
      notify: Called with a line that names the folder.
      fitted: What the model's `sampler` is fitted to, for a model that has one.

    Returns:
      Files written.

    Raises:
      UserError: The model draws no samples.
    """
    transform = transform or encoding.downscaling(config.data.downscale)
    if model.imputation is not None:
        return write_imputations(config, workdir, model, params, image_sets, transform, notify)
    if model.sets is None:
        return write_code_pictures(config, workdir, model, params, image_sets, transform, fitted, notify)
    if model.context_dim:
        return write_view_samples(config, workdir, model, params, image_sets, transform, notify)
    if model.of_vectors:
        return write_vector_samples(config, workdir, model, params, image_sets, notify)
    alone = model.latents is not None and model.latents.num_set_latents == 0
    write = write_image_samples if alone else write_set_samples
    return write(config, workdir, model, params, image_sets, transform, notify)

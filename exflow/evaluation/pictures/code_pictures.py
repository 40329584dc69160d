"""Pictures of models of codes: samples by what was fitted, reconstructions, ways between images, attributes set.

Grey values are those of the images, never stretched.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict
from PIL import Image

from exflow.core.binary.attributes import DIRECTIONS, apply_direction
from exflow.data.registry import ImageSets
from exflow.errors import UserError
from exflow.evaluation import encoding
from exflow.evaluation.code_passes import codes_of_images, images_of_codes, sample_fitted
from exflow.evaluation.encoding import Transform
from exflow.evaluation.evaluator import Say
from exflow.evaluation.pictures.grids import grid_picture, looks_inverted, save, visible
from exflow.evaluation.spread import evenly_spread
from exflow.model import FittedCodes, Model, codes_of, sampler_of
from exflow.typing import Params

COLUMNS = 12  # of samples, and of reconstructions
SEED = 0x66697474  # separates these samples from other random numbers


class CodeGallery(NamedTuple):
    """A model of codes with what was fitted, the images to show, and where."""

    config: ConfigDict
    folder: Path
    model: Model
    params: Params
    image_sets: ImageSets
    transform: Transform | None
    fitted: FittedCodes

    def images(self, number: int) -> UInt8[np.ndarray, "num height width channels"]:
        """So many images of the split, spread over its classes."""
        own = np.asarray(self.image_sets.index)[self.image_sets.exists]
        images = np.asarray(self.image_sets.images)[evenly_spread(own, number)]
        return images if self.transform is None else np.asarray(self.transform(images))

    def save(self, name: str, rows: np.ndarray, titles: list[str] | None = None) -> Path:
        """Write a grid of images [rows, columns, ...]."""
        invert = looks_inverted(np.asarray(self.image_sets.images))
        return save(self.folder / f"{name}.png", grid_picture(rows, None, invert, titles))


def draw_samples(coded: CodeGallery) -> Path:
    """`<method>.png`: samples by `config.sampling.method`; as many as `config.sampling.num_images` one by one, too."""
    sampling, rows = coded.config.sampling, coded.config.evaluation.num_sample_rows
    method = sampling.method or sampler_of(coded.model).methods[0]
    key = jax.random.fold_in(jax.random.key(coded.config.training.seed), SEED)
    number = max(rows * COLUMNS, sampling.num_images)
    images = sample_fitted(coded.model, coded.params, coded.fitted.by(method), key, number, method)
    digits = len(str(sampling.num_images))
    for place, image in enumerate(images[: sampling.num_images]):
        shown = visible(image)
        picture = Image.fromarray(shown[..., 0] if shown.shape[-1] == 1 else shown)
        save(coded.folder / method / f"{place:0{digits}d}.png", picture)
    return coded.save(method, images[: rows * COLUMNS].reshape(rows, COLUMNS, *images.shape[1:]))


def draw_reconstructions(coded: CodeGallery) -> Path:
    """`reconstructions.png`: in pairs of rows images and what is decoded from their codes."""
    rows = -(-coded.config.evaluation.num_sample_rows // 2)
    images = coded.images(rows * COLUMNS)
    images = images[np.resize(np.arange(len(images)), rows * COLUMNS)]
    decoded = _through(coded, codes_of_images(coded.model, coded.params, images))
    pairs = np.stack([images, decoded]).reshape(2, rows, COLUMNS, *images.shape[1:]).swapaxes(0, 1)
    return coded.save("reconstructions", pairs.reshape(2 * rows, COLUMNS, *images.shape[1:]))


def draw_interpolations(coded: CodeGallery) -> Path:
    """`interpolations.png`: a row is an image, the way to another one, and that one.

    Raises:
      UserError: The model has no ways between codes.
    """
    sampling, rows = coded.config.sampling, coded.config.evaluation.num_sample_rows
    interpolate = sampler_of(coded.model).interpolate
    if interpolate is None:
        raise UserError(f"{coded.model.name}: has no ways between codes. Choose a model that has.")
    images = coded.images(2 * rows)
    begin, end = images[:rows], images[rows : 2 * rows]
    codes = [codes_of_images(coded.model, coded.params, x) for x in (begin, end)]
    seed, form = coded.config.training.seed, sampling.interpolation
    path = interpolate(coded.fitted, codes[0], codes[1], sampling.steps, seed, form)
    decoded = [_through(coded, step) for step in path]
    titles = ["image", *(f"{place}" for place in range(1, sampling.steps + 1)), "image"]
    return coded.save("interpolations", np.stack([begin, *decoded, end], axis=1), titles)


def draw_edits(coded: CodeGallery) -> Path:
    """`edits_<attribute>.png`: a row is an image, its reconstruction, and more and more bits of the attribute.

    Raises:
      UserError: `config.sampling.attribute` names none, or the codes are no bits.
    """
    sampling, rows = coded.config.sampling, coded.config.evaluation.num_sample_rows
    if not codes_of(coded.model).binary:
        raise UserError(f"{coded.model.name}: attributes are of bits. Choose a model with bits.")
    training = coded.fitted.training()
    direction = DIRECTIONS[sampling.direction](training.codes, training.members(sampling.attribute))
    images = coded.images(rows)
    codes = codes_of_images(coded.model, coded.params, images)
    shares = np.linspace(0.0, sampling.strength, sampling.steps)[1:]
    edited = [_through(coded, apply_direction(codes, direction, float(share))) for share in shares]
    columns = [images, _through(coded, codes), *edited]
    titles = ["image", "decoded", *(f"{share:+.2f}" for share in shares)]
    return coded.save(f"edits_{sampling.attribute.replace('/', '_')}", np.stack(columns, axis=1), titles)


def write_code_pictures(
    config: ConfigDict,
    workdir: Path,
    model: Model,
    params: Params,
    image_sets: ImageSets,
    transform: Transform | None,
    fitted: FittedCodes | None,
    notify: Say = print,
    draw: tuple[Callable[[CodeGallery], Path], ...] = (draw_samples, draw_reconstructions),
) -> list[Path]:
    """Write pictures of a model of codes into `samples/`.

    Args:
      config: Complete configuration; sections `sampling`, and `evaluation` for the number of rows.
      workdir: Working directory.
      model: What was trained.
      params: Its parameters.
      image_sets: Split whose images are shown.
      transform: Applied to images [n, H, W, C] before the model sees them; None: the means of `config.data.downscale`.
      fitted: What the model's sampler is fitted to.
      notify: Called with a line that names the files.
      draw: Which pictures.

    Returns:
      Files written.

    Raises:
      UserError: The model has no sampler, nothing was fitted, or a picture is not to be had of this model.
    """
    if model.sampler is None:
        raise UserError(f"{model.name}: draws no samples. Choose a model of sets, or one with a sampler.")
    if fitted is None:
        raise UserError(f"{model.name}: its sampler is not fitted. Finish training first: --mode=train.")
    if config.evaluation.num_sample_rows == 0:
        return []
    transform = transform or encoding.downscaling(config.data.downscale)
    coded = CodeGallery(config, Path(workdir) / "samples", model, params, image_sets, transform, fitted)
    written = [picture(coded) for picture in draw]
    notify(f"{', '.join(path.name for path in written)} in {coded.folder}")
    return written


def _through(coded: CodeGallery, codes: np.ndarray) -> np.ndarray:
    return images_of_codes(coded.model, coded.params, codes)

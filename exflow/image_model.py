"""What a trained model does with images on their own: bring them into shape, encode and reconstruct them."""

import functools
import math
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict

from exflow.errors import UserError
from exflow.evaluation import code_passes, compiled, placement
from exflow.evaluation.compiled import power_of_two
from exflow.input_checks import KeyOrSeed, as_key, check_context, check_elements, check_observed
from exflow.model import FittedCodes, Model, imputation_of
from exflow.models.registry import num_parameters
from exflow.padding import PaddedSets, encode, in_calls, joined
from exflow.raw_images.preprocess import preprocess
from exflow.typing import Element, Params

Images = Any  # array-like of uint8 [..., height, width, channels]; checked at run time
Context = Any  # array-like of floats [..., context_dim] with the leading axes of the images, or None


class ImageModel:
    """A model with its parameters, as far as sets play no part.

    Attributes:
      image_shape: Height, width and channels.
      context_dim: Length of the context of an image; 0 for a model that takes none.
      name: What the model is called.
      core: The pure functions behind the methods.
      params: Their parameters.
      config: Configuration of the training run.
      info: Where the parameters come from.
      fitted: What the sampler of the model was fitted to after training, by method, if it has one.
    """

    def __init__(
        self,
        core: Model,
        params: Params,
        config: ConfigDict | None = None,
        info: dict[str, Any] | None = None,
        fitted: FittedCodes | None = None,
    ):
        """Wrap a model; `load` is the usual way to get one."""
        self.core, self.params, self.fitted = core, placement.replicate(params), fitted
        self.config, self.info = config, dict(info or {})
        self.name, self.image_shape, self.context_dim = core.name, core.image_shape, core.context_dim

    def __repr__(self) -> str:
        number = f"{num_parameters(self.params):,} parameters"
        return f"{type(self).__name__}({self.name}, image_shape={self.image_shape}, {number}, {self.info})"

    @functools.cached_property
    def folded_params(self) -> Params:
        """What compiled functions are given for `params`."""
        return placement.replicate(self.core.folded(self.params))

    def preprocess(self, raw: Any, invert: bool | None = None) -> UInt8[np.ndarray, "..."]:
        """Bring raw pictures into the convention of the model's data set.

        Args:
          raw: A picture [height, width] or [height, width, channels] of uint8, bool, whole numbers 0..255 or floats in
            [0, 1]; a path; a Pillow image of any mode; a stack with a leading axis; or a list of these, of any sizes.
          invert: Exchange black and white, or not. None: of a data set of drawings (Omniglot, glyphs, MNIST) each
            picture is brought to its bright ink on black, whatever its own polarity and paper; others stay as they are.

        Returns:
          uint8 [*image_shape] for one picture, else [num, *image_shape]; warns of drawings that do not tell ink from
          paper.

        Raises:
          UserError: A file is missing or no picture.
          TypeError: Neither pictures nor numbers.
          ValueError: Not the shape or the range of pictures, or the model takes something else than square gray or
            colour images.
        """
        if self.core.of_vectors:
            raise UserError("preprocess: this model takes vectors of numbers, not pictures. Give it float32 vectors.")
        if self.config is None:
            raise ValueError("preprocess: this model has no configuration that says how. Use exflow.load.")
        return preprocess(raw, self.config.data, self.image_shape, invert)

    def encode(self, x: Images, key: KeyOrSeed | None = None, context: Context = None) -> Element:
        """What the model keeps of every image; leading axes are those of `x`."""
        x = check_elements(self.core, x, "x", None)
        known = check_context(self.context_dim, context, x.shape[:-3])
        flat = encode(self.core, self.folded_params, x.reshape(-1, *self.image_shape), as_key(key), known)
        return jax.tree.map(lambda leaf: leaf.reshape(*x.shape[:-3], *leaf.shape[1:]), flat)

    def impute(
        self, x: Images, observed: Any, key: KeyOrSeed, num_samples: int = 1
    ) -> UInt8[np.ndarray, "num_samples ..."]:
        """Draws of the hidden pixels of images given the observed ones, which stay as they are.

        Args:
          x: One image [h, w, c], or images [..., h, w, c]. What stands in hidden pixels is not looked at.
          observed: True where a pixel is seen: [h, w] for all images, or [..., h, w]; a last axis of 1 is allowed.
          key: Random key, or a seed. The noise of an image depends on it and on the observed pixels alone.
          num_samples: Draws of every image, independent of each other.

        Returns:
          Images [num_samples, *x.shape].

        Raises:
          UserError: The model cannot; says which config can.
        """
        imputation_of(self.core)
        if num_samples < 1:
            raise ValueError(f"num_samples: expected at least 1, got {num_samples}.")
        x = check_elements(self.core, x, "x", None)
        mask, size, draw_key = check_observed(observed, x.shape), power_of_two(num_samples), as_key(key)
        flat = x.reshape(-1, *self.image_shape), mask.reshape(-1, *self.image_shape[:2], 1)
        calls = [compiled.impute(self.core, self.params, draw_key, *part, size) for part in in_calls(flat)]
        drawn = joined([call.swapaxes(0, 1) for call in calls], len(flat[0])).swapaxes(0, 1)[:num_samples]
        return np.where(mask, x, drawn.reshape(num_samples, *x.shape))

    def reconstruct(self, x_set: Images, mask: Any = None) -> UInt8[np.ndarray, "..."] | Float[np.ndarray, "..."]:
        """Images as the model sees them through its latents, all at their means, or through its codes.

        Args:
          x_set: One image [h, w, c], or images [..., set, h, w, c]; those of a set share the latent of the set, if the
            model has one.
          mask: [..., set], False where a ragged set has no element; None if all exist.

        Returns:
          The means of what is decoded, of the shape and type of `x_set`.

        Raises:
          UserError: The model has neither latents nor codes.
        """
        if self.core.codes is None and self.core.latents is None:
            raise UserError(f"{self.name}: has neither latent variables nor codes. Choose a model that has.")
        if np.ndim(x_set) == 3:
            return self.reconstruct(np.asarray(x_set)[None])[0]
        if self.core.codes is not None:
            x = check_elements(self.core, x_set, "x_set", None)
            number = math.prod(x.shape[:-3])
            calls = in_calls(x.reshape(-1, *self.image_shape))
            decoded = [code_passes.reconstruct(self.core, self.folded_params, images)[0] for images in calls]
            return joined(decoded, number).reshape(x.shape)
        sets = PaddedSets(self.core, x_set, mask, None)
        return sets.map(
            functools.partial(compiled.reconstruct, self.core, self.folded_params), self.folded_params, None
        )

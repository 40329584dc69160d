"""What a trained model does with the codes of images: decode, interpolate, set attributes, complete."""

import functools
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from exflow.core.binary.attributes import DIRECTIONS, Direction, apply_direction
from exflow.errors import UserError
from exflow.evaluation.code_passes import codes_of_images, images_of_codes
from exflow.image_model import ImageModel, Images
from exflow.input_checks import check_elements
from exflow.model import Codes, FittedCodes, codes_of, sampler_of


class CodeEdits(ImageModel):
    """A model with codes and its parameters; other models say what they lack."""

    def codes(self, x: Images) -> Codes:
        """Codes of images [..., h, w, c], as [..., length]: bool where they are bits, else float32."""
        functions = codes_of(self.core)
        x = check_elements(self.core, x, "x", None)
        flat = x.reshape(-1, *self.image_shape)
        found = codes_of_images(self.core, self.folded_params, flat) if len(flat) else np.zeros((0, functions.length))
        return found.reshape(*x.shape[:-3], functions.length)

    def decode_codes(self, codes: Any) -> UInt8[np.ndarray, "*lead height width channels"]:
        """Images of codes [..., length].

        Raises:
          ValueError: They have another length, or bits another type than bool.
        """
        functions, codes = codes_of(self.core), np.asarray(codes)
        wanted = np.dtype(bool if functions.binary else np.float32)
        if codes.shape[-1:] != (functions.length,) or codes.dtype != wanted:
            raise ValueError(
                f"codes: expected {wanted} [..., {functions.length}], got {codes.dtype} {list(codes.shape)}. "
                "Take what `codes` gives."
            )
        flat = codes.reshape(-1, functions.length)
        if not len(flat):
            return np.zeros((*codes.shape[:-1], *self.image_shape), np.uint8)
        return images_of_codes(self.core, self.folded_params, flat).reshape(*codes.shape[:-1], *self.image_shape)

    def interpolate(
        self, begin: Images, end: Images, num_steps: int = 10, form: str = "orthant", seed: int = 0
    ) -> UInt8[np.ndarray, "num_steps *lead height width channels"]:
        """Images on ways between images.

        Args:
          begin: One image [h, w, c], or images [..., h, w, c].
          end: As many.
          num_steps: At least 2, both ends included.
          form: Of bits: "orthant", which begins and ends in the very codes of the images, or "hyperplane", the
            published one, which is near them. Codes of real numbers go straight.
          seed: Of "orthant".

        Returns:
          Images [num_steps, ...]; of "orthant" the first and last are the reconstructions of `begin` and `end`.
        """
        interpolate = sampler_of(self.core).interpolate
        if interpolate is None:
            raise UserError(f"{self.name}: has no ways between codes. Choose a model that has.")
        ends = [self.codes(x) for x in (begin, end)]
        if ends[0].shape != ends[1].shape:
            raise ValueError(f"end: expected as many images as begin, {ends[0].shape[:-1]}, got {ends[1].shape[:-1]}.")
        if num_steps < 2:
            raise ValueError(f"num_steps: expected at least 2, got {num_steps}.")
        flat = [codes.reshape(-1, codes.shape[-1]) for codes in ends]
        path = interpolate(self._fitted(), flat[0], flat[1], num_steps, seed, form)
        return self.decode_codes(path.reshape(num_steps, *ends[0].shape))

    def edit(
        self, x: Images, attribute: str | int, strength: float = 1.0, direction: str = "contrast"
    ) -> UInt8[np.ndarray, "*lead height width channels"]:
        """Images with an attribute of the training data set, or removed.

        Args:
          x: Images [..., h, w, c].
          attribute: Name of an attribute of the data set, or a class label.
          strength: In [-1, 1]: share of the bits that make the attribute, largest effects first; below 0 it is removed.
          direction: Which bits these are: "contrast", whose means with and without it differ significantly, or "mean",
            the published ones, whose means with it are beyond 0.12.
        """
        codes = self.codes(x)
        return self.decode_codes(apply_direction(codes, self.direction_of(attribute, direction), strength))

    def direction_of(self, attribute: str | int, direction: str = "contrast") -> Direction:
        """The bits that make an attribute, see `edit`; computed from the training codes once."""
        if direction not in DIRECTIONS:
            raise ValueError(f"direction: expected one of {', '.join(DIRECTIONS)}, got {direction!r}.")
        if not codes_of(self.core).binary:
            raise UserError(f"{self.name}: attributes are of bits, and its codes are numbers. Choose latent=bits.")
        return self._directions(str(attribute), direction)

    def complete(
        self, codes: Any, known: Bool[np.ndarray, " length"], method: str = "", seed: int = 0
    ) -> Bool[np.ndarray, "*lead length"]:
        """Codes whose bits that are not known are drawn given those that are.

        Args:
          codes: Bits [..., length]; what is not known is not looked at.
          known: True where a bit is known.
          method: Of the distributions that were fitted; "": the first.
          seed: Of the draws.
        """
        sampler, codes = sampler_of(self.core), np.asarray(codes)
        if sampler.complete is None:
            raise UserError(f"{self.name}: completes no codes. Choose latent=bits.")
        known, method = np.asarray(known, bool), method or sampler.methods[0]
        if known.shape != codes.shape[-1:]:
            raise ValueError(f"known: expected {list(codes.shape[-1:])}, got {list(known.shape)}. Say it of every bit.")
        flat = codes.reshape(-1, codes.shape[-1])
        return sampler.complete(self._fitted().by(method), flat, known, seed, method).reshape(codes.shape)

    @functools.cached_property
    def _directions(self) -> Any:
        training = self._fitted().training()

        @functools.cache
        def direction_of(attribute: str, direction: str) -> Direction:
            return DIRECTIONS[direction](training.codes, training.members(attribute))

        return direction_of

    def _fitted(self) -> FittedCodes:
        if self.fitted is None:
            raise UserError(f"{self.name}: nothing was fitted to its training codes. Use a working directory.")
        return self.fitted

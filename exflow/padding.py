"""What the Python API gives to compiled functions: images encoded in groups, sets padded to powers of two.

Arbitrary numbers of images and sizes of sets so cause few compilations.
"""

import math
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool

from exflow.evaluation import encoding
from exflow.evaluation.compiled import power_of_two, scatter
from exflow.input_checks import check_context, check_elements
from exflow.model import Model
from exflow.typing import Element, Params, PRNGKey

MAX_ENCODED = 256  # images per encoding call


def encode(model: Model, params: Params, x: np.ndarray, key: PRNGKey | None, context: np.ndarray | None) -> Element:
    """Elements of images [num, height, width, channels], also of none, as NumPy arrays.

    Args:
      model: The model.
      params: Its parameters.
      x: Images or vectors that are known to fit the model.
      key: Key of the noise; None fixes it at its mean.
      context: Of the images, [num, context_dim], for a conditional model.
    """
    if len(x) == 0:
        one = jax.tree.map(lambda part: jax.ShapeDtypeStruct((1, *part.shape[1:]), part.dtype), (x, context))
        like = jax.eval_shape(lambda x, known: model.encode(params, None, x, known), *one)
        return jax.tree.map(lambda leaf: np.zeros((0, *leaf.shape[1:]), leaf.dtype), like)
    return encoding.encode_images(model, params, key, x, min(MAX_ENCODED, power_of_two(len(x))), context=context)


def padded(
    model: Model, params: Params, x: np.ndarray, key: PRNGKey | None, context: Any, name: str = "context"
) -> tuple[Element, Bool[np.ndarray, " padded"]]:
    """Elements of one image or of many, padded to a power of two, and the mask of the real ones.

    Raises:
      ValueError: The contexts do not fit the images; they are called `name`.
    """
    known, x = check_context(model.context_dim, context, x.shape[:-3], name), x.reshape(-1, *model.image_shape)
    mask = np.arange(power_of_two(len(x))) < len(x)
    return scatter(encode(model, params, x, key, known), mask), mask


class PaddedSets:
    """Sets of images of any leading axes, checked, flattened and padded.

    Attributes:
      mask: Which places of the padded sets hold an image, [sets, set].
    """

    def __init__(self, model: Model, x_set: Any, mask: Any, context: Any):
        """Check what the user gives.

        Args:
          model: The model.
          x_set: Sets of images [..., set, height, width, channels].
          mask: [..., set], False where a ragged set has no element; None if all exist.
          context: Of the images, [..., set, context_dim], for a conditional model.

        Raises:
          TypeError: Not of the model's type.
          ValueError: Shapes do not fit the model or each other.
        """
        x = check_elements(model, x_set, "x_set", None)
        if x.ndim < 4:
            shape = ", ".join(map(str, model.image_shape))
            raise ValueError(f"x_set: expected [..., set, {shape}], got {x.shape}. Add a set axis.")
        leading = x.shape[:-3]
        given = np.ones(leading, bool) if mask is None else np.asarray(mask)
        if given.dtype != bool or given.shape != leading:
            raise ValueError(f"mask: expected bool {leading}, got {given.dtype} {given.shape}. One entry per image.")
        flat = given.reshape(math.prod(leading[:-1]), leading[-1])
        self.mask = np.zeros((power_of_two(len(flat)), power_of_two(leading[-1])), bool)
        self.mask[: flat.shape[0], : flat.shape[1]] = flat
        known = check_context(model.context_dim, context, leading)
        self._model, self._known = model, None if known is None else known[flat.reshape(-1)]
        self._x, self._leading, self._shape = x.reshape(*flat.shape, *model.image_shape)[flat], leading, flat.shape

    def elements(self, params: Params, key: PRNGKey | None) -> Element:
        """Elements [sets, set] of the padded sets, zeros where there is none."""
        return scatter(encode(self._model, params, self._x, key, self._known), self.mask)

    def unpadded(self, values: Any) -> np.ndarray:
        """Values [sets, set, ...] of the padded sets with the leading axes that the user gave."""
        values = np.asarray(values)[: self._shape[0], : self._shape[1]]
        return values.reshape(*self._leading, *values.shape[2:])

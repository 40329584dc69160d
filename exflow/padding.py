"""What the Python API gives to compiled functions: calls of few sizes, sets padded to powers of two.

Arbitrary numbers of images and sizes of sets so cause few compilations.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool

from exflow.evaluation.compiled import power_of_two, scatter
from exflow.evaluation.encoding import encode_batch
from exflow.evaluation.placement import local_mesh, replicate, round_up
from exflow.input_checks import check_context, check_elements
from exflow.model import Model
from exflow.typing import Element, Params, PRNGKey

LEAST = {64: 33, 8: 4, 1: 1}  # rows per call: from how many rows on; each is a program, and 64 no faster than 8 on CPUs


def sizes_of_calls(number: int) -> list[int]:
    """Rows of the successive calls that `number` images, queries or sets are split into, at least one call.

    Few sizes, since each of them is compiled; no more rows are filled up than there are.
    """
    sizes, left = [], max(number, 1)
    while left > 0:
        size = next(size for size, least in LEAST.items() if left >= least)
        sizes.append(round_up(size, local_mesh().size))
        left -= sizes[-1]
    return sizes


def call_sizes(largest: int) -> list[int]:
    """All sizes of calls that numbers up to `largest` need."""
    return [size for size, least in reversed(LEAST.items()) if largest >= least]


def in_calls(rows: Any) -> Iterator[Any]:
    """Arrays with the leading axis [rows] in parts of `sizes_of_calls`; the last row, or 0, fills them up."""
    number, start = len(jax.tree.leaves(rows)[0]), 0

    def part(leaf: np.ndarray, start: int, size: int) -> np.ndarray:
        if not number:
            return np.zeros((size, *leaf.shape[1:]), leaf.dtype)
        found = leaf[start : start + size]
        return found if len(found) == size else found[np.minimum(np.arange(size), len(found) - 1)]

    for size in sizes_of_calls(number):
        yield jax.tree.map(lambda leaf, start=start, size=size: part(leaf, start, size), rows)
        start += size


def joined(parts: list[Any], number: int) -> Any:
    """The first `number` rows of what calls gave, as NumPy arrays."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:number], *jax.device_get(parts))


def encoded(
    model: Model, params: Params, x: np.ndarray, key: PRNGKey | None, context: np.ndarray | None
) -> Iterator[Element]:
    """Elements of images [num, height, width, channels], also of none, call by call on the devices.

    Args:
      model: The model.
      params: Its parameters, on all local devices.
      x: Images or vectors that are known to fit the model.
      key: Key of the noise; None fixes it at its mean.
      context: Of the images, [num, context_dim], for a conditional model.

    Yields:
      Elements [size of the call]; what is beyond the last image means nothing.
    """
    seeds = np.arange(len(x), dtype=np.uint32)
    for part in in_calls((seeds, x, context)):
        elements = encode_batch(model, params, key, *part)
        yield replicate(elements) if local_mesh().size > 1 else elements


def encode(model: Model, params: Params, x: np.ndarray, key: PRNGKey | None, context: np.ndarray | None) -> Element:
    """The same elements as NumPy arrays [num]."""
    return joined(list(encoded(model, params, x, key, context)), len(x))


def encode_both(
    model: Model, params: Params, a: tuple[np.ndarray, PRNGKey | None, Any], b: tuple[np.ndarray, PRNGKey | None, Any]
) -> tuple[Element, Element]:
    """Elements of two stacks of images, each with the key of its noise and its contexts, as of `encode`.

    Stacks without noise share calls, of which there are fewer then.
    """
    (x, key, known), (other_x, other_key, other_known) = a, b
    if key is not None or other_key is not None:
        return encode(model, params, x, key, known), encode(model, params, other_x, other_key, other_known)
    joint = None if known is None or other_known is None else np.concatenate([known, other_known])
    elements = encode(model, params, np.concatenate([x, other_x]), None, joint)
    first, second = (
        jax.tree.map(lambda leaf, rows=rows: leaf[rows], elements) for rows in (slice(len(x)), slice(len(x), None))
    )
    return first, second


def padded(
    model: Model, params: Params, x: np.ndarray, key: PRNGKey | None, context: Any
) -> tuple[Element, Bool[np.ndarray, " padded"]]:
    """Elements of one image or of many, padded to a power of two, and the mask of the real ones.

    Raises:
      ValueError: The contexts do not fit the images.
    """
    known, x = check_context(model.context_dim, context, x.shape[:-3]), x.reshape(-1, *model.image_shape)
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
        self.mask = np.zeros((len(flat), power_of_two(leading[-1])), bool)
        self.mask[:, : flat.shape[1]] = flat
        known = check_context(model.context_dim, context, leading)
        self._model, self._known = model, None if known is None else known[flat.reshape(-1)]
        self._x, self._leading, self._size = x.reshape(*flat.shape, *model.image_shape)[flat], leading, flat.shape[1]

    def map(self, function: Callable[[Element, np.ndarray], Any], params: Params, key: PRNGKey | None) -> np.ndarray:
        """Values of elements by `function(elements [sets, set], mask)`, with the leading axes that the user gave.

        Elements are zero where there is none.
        """
        elements = scatter(encode(self._model, params, self._x, key, self._known), self.mask)
        values = joined([function(*part) for part in in_calls((elements, self.mask))], len(self.mask))[:, : self._size]
        return values.reshape(*self._leading, *values.shape[2:])

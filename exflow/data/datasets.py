"""`load(name)`: a data set as arrays, grouped by class, from the cache, from TFDS or from a generator.

`registry.py` shows how to add a data set. A machine without TensorFlow can load everything that has been prepared
(`python -m exflow.data.prepare NAME`) and copied to its cache folder.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from exflow.data.labelled import load_labelled, parameters_of, resolve_options
from exflow.data.option_text import read_options, split_text
from exflow.data.registry import SPLITS, ImageSets, group_by_class, known_data_sets
from exflow.errors import UserError


def parse_options(name: str, text: str) -> dict[str, Any]:
    """Options of a data set from text such as "num_train=100, seed=1", each of the type that its builder gives it.

    True and False are also written true, yes, on, 1 and false, no, off, 0; text with a comma in it stands in quotes,
    and tuples and lists in brackets.

    Raises:
      UserError: If the data set or an option is not known, has a key of its own in the configuration, or a value is not
        of the type.
    """
    parameters = parameters_of(name)
    for key in ("image_size", "resize", "split"):
        if key in split_text(text):
            raise UserError(f"config.data.options: {key} has a key of its own. Set --config.data.{key}.")
    return read_options(name, text, parameters)


def load(
    name: str,
    *,
    image_size: int | None = None,
    resize: str | None = None,
    split: str | None = None,
    **options: Any,
) -> dict[str, ImageSets]:
    """Load a data set as arrays of uint8 images, or of float32 vectors, grouped by class.

    Args:
      name: A registered name: "omniglot", "glyphs", "mnist", "fashion_mnist", "cifar10", or your own.
      image_size: Height and width in pixels; None for the usual size of the data set (28; 32 for cifar10). Without
        meaning for vectors.
      resize: "bilinear", "area", "nearest" or "box" (see `resize.resize`); None for the default of the data set.
        Without meaning for data sets that are generated at the right size, or whose definition names the method.
      split: None, "standard" or its name ("vinyals" for omniglot) keeps train, validation and test apart. The same
        with "_trainval" behind it adds the validation part to train, as the papers do for final numbers (1,200
        training classes of Omniglot). Then validation OVERLAPS with train: its numbers say nothing about
        generalisation and must not select anything.
      **options: Further options of the data set; see its builder.

    Returns:
      "train", "validation" and "test". Disjoint by class for omniglot and glyphs, by image for the others.

    Raises:
      UserError: If the name, an option or the split is not known, or the data cannot be had; says how to get it.
    """
    common = {"image_size": image_size, "resize": resize}
    taken = parameters_of(name)
    resolved = resolve_options(name, **{key: common[key] for key in common if key in taken}, **options)
    scheme = split or "standard"
    own = known_data_sets()[name].split
    if scheme.removesuffix("_trainval") not in ("standard", own):
        expected = f"{own!r} or {own + '_trainval'!r}"
        raise UserError(f"split: expected {expected} for {name}, got {split!r}.")
    data = load_labelled(name, **resolved)
    height, width = data.images.shape[1:3]
    if "image_size" not in taken and data.images.dtype == np.uint8 and image_size not in (None, height):
        raise UserError(f"{name}: its images have {height}x{width} pixels only. Set --config.data.image_size={height}.")
    sets = {}
    for number, part in enumerate(SPLITS):
        chosen = data.split == number
        if part == "train" and scheme.endswith("_trainval"):
            chosen |= data.split == SPLITS.index("validation")
        rows = _rows(chosen)
        context, attributes = (None if facts is None else facts[rows] for facts in (data.context, data.attributes))
        grouped = group_by_class(
            data.images[rows], data.labels[rows], f"{name}/{part}", context, attributes, data.attribute_names
        )
        sets[part] = grouped._replace(labelled=known_data_sets()[name].labelled)
    return sets


def _rows(chosen: Bool[np.ndarray, " num_images"]) -> Int[np.ndarray, " num_chosen"] | slice:
    """Rows to index with: a slice where they follow each other, which copies nothing and leaves files on the disk."""
    rows = np.flatnonzero(chosen)
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows

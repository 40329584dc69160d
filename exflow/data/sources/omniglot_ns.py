"""Omniglot divided by character at random over all alphabets, as the Neural Statistician and the set VAEs do."""

import numpy as np

from exflow.data.building.chardata import FILE, VARIABLE, read_chardata
from exflow.data.building.omniglot_splits import NUM_CHARACTERS, division
from exflow.data.building.options import check_at_least, check_choice, user_path
from exflow.data.labelled import load_labelled
from exflow.data.registry import LabelledImages, register
from exflow.data.resize import check as check_resize
from exflow.data.resize import resize
from exflow.errors import UserError

ADVICE = f"{FILE}; source=tfds runs without it."
NUM_TRAIN, NUM_VALIDATION = 1000, 200  # of omniglot_ns; test has the others


@register("omniglot_ns", cache=False, ink="dark")
def omniglot_ns(image_size: int = 28, source: str = "tfds", seed: int = 0) -> LabelledImages:
    """Omniglot with 1,000 / 200 / 423 characters divided at random, so that the splits share alphabets.

    The division of the Neural Statistician and the hierarchical set VAEs, ink bright. Which characters are held out is
    drawn here; their own list is not published. Drawings of TFDS are brought to `image_size` by averaging areas; those
    of `source="burda"`, which the published numbers are measured on, are grey pictures of 28x28 made by another
    method. Nats of the two sources are not comparable. Cached as `omniglot` with `resize="area"`.

    Args:
      image_size: Height and width.
      source: "tfds", or "burda": the file chardata.mat that the environment variable EXFLOW_CHARDATA names, where some
        characters have fewer than 20 drawings.
      seed: Of the division, at least 0.

    Raises:
      UserError: If an option is not valid, the file is missing or damaged; as for `omniglot`.

    Source: Giannone and Winther 2022, arXiv:2110.12279; chardata.mat of Burda et al. 2016, arXiv:1509.00519; drawings
    by Lake et al. 2015 (MIT licence).
    """
    check_choice("omniglot_ns", "source", source, ("tfds", "burda"))
    check_resize(image_size, "area")
    check_at_least("omniglot_ns", 0, seed=seed)
    if source == "tfds":
        data = load_labelled("omniglot", image_size=image_size, resize="area")
        images, labels = np.asarray(data.images, np.uint8), data.labels
    else:
        images, labels, _ = read_chardata(user_path("omniglot_ns", VARIABLE, "file", ADVICE))
        images = resize(images, image_size, "area")
    num_classes = int(labels.max(initial=0)) + 1
    if num_classes <= NUM_TRAIN + NUM_VALIDATION:
        raise UserError(f"omniglot_ns: expected {NUM_CHARACTERS} characters, got {num_classes}. Correct {VARIABLE}.")
    return LabelledImages(images, labels, division(NUM_TRAIN, NUM_VALIDATION, num_classes, seed)[labels])

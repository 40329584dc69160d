"""Pictures of MNIST, Fashion-MNIST and Omniglot turned in steps of 10 degrees, as sets of 36 views.

The context of a view is (sin, cos) of the counter-clockwise rotation.
"""

import numpy as np

from exflow.data.building.rotation import rotated_views
from exflow.data.building.views import DEGREES, label_views, split_counts
from exflow.data.labelled import load_labelled
from exflow.data.registry import SPLITS, LabelledImages, register
from exflow.errors import UserError


def _from_base(
    base: str, image_size: int, num_train: int, num_validation: int, num_test: int, seed: int
) -> LabelledImages:
    """Views of pictures drawn at random from the splits of another data set, at its default options."""
    name = f"rotated_{base}"
    split = split_counts(name, image_size, num_train, num_validation, num_test)
    if seed < 0:
        raise UserError(f"{name}: expected seed >= 0, got {seed}.")
    data = load_labelled(base)
    rng = np.random.default_rng(seed)
    chosen = []
    for number, part in enumerate(SPLITS):
        rows, count = np.flatnonzero(data.split == number), int((split == number).sum())
        if count > len(rows):
            raise UserError(f"{name}: expected num_{part} of at most {len(rows)}, the images of {base}, got {count}.")
        chosen.append(np.sort(rng.choice(rows, count, replace=False)))
    return label_views(rotated_views(data.images[np.concatenate(chosen)], image_size), DEGREES, split)


@register("rotated_mnist", ink="bright")
def rotated_mnist(
    image_size: int = 32, num_train: int = 5000, num_validation: int = 500, num_test: int = 1000, seed: int = 0
) -> LabelledImages:
    """MNIST digits turned by 0, 10, ..., 350 degrees: 5,000 / 500 / 1,000 digits of 36 views, split by image.

    An object is one image of `mnist`, drawn at random from the split of the same name. Digits at 32x32 have their
    original size. Some cannot be told from themselves turned by 180 degrees (0, 1, 8) or from others (6, 9).

    Args:
      image_size: Height and width.
      num_train: Objects for training, at most 55,000.
      num_validation: Objects for validation, at most 5,000.
      num_test: Objects for test, at most 10,000.
      seed: Of the choice of objects.

    Raises:
      UserError: If a number is out of range, or MNIST cannot be had; says how to get it.

    Source: LeCun, Cortes and Burges, through TFDS; licence commonly given as CC BY-SA 3.0.
    """
    return _from_base("mnist", image_size, num_train, num_validation, num_test, seed)


@register("rotated_fashion_mnist")
def rotated_fashion_mnist(
    image_size: int = 32, num_train: int = 5000, num_validation: int = 500, num_test: int = 1000, seed: int = 0
) -> LabelledImages:
    """Fashion-MNIST turned by 0, 10, ..., 350 degrees: 5,000 / 500 / 1,000 garments of 36 views, split by image.

    An object is one image of `fashion_mnist`, drawn at random from the split of the same name, and made smaller so that
    its corners stay in the frame.

    Args:
      image_size: Height and width.
      num_train: Objects for training, at most 55,000.
      num_validation: Objects for validation, at most 5,000.
      num_test: Objects for test, at most 10,000.
      seed: Of the choice of objects.

    Raises:
      UserError: If a number is out of range, or Fashion-MNIST cannot be had; says how to get it.

    Source: Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747, through TFDS; MIT licence.
    """
    return _from_base("fashion_mnist", image_size, num_train, num_validation, num_test, seed)


@register("rotated_omniglot", ink="bright")
def rotated_omniglot(
    image_size: int = 32, num_train: int = 5000, num_validation: int = 500, num_test: int = 1000, seed: int = 0
) -> LabelledImages:
    """Omniglot turned by 0, 10, ..., 350 degrees: 5,000 / 500 / 1,000 drawings of 36 views, split by character.

    An object is one drawing of `omniglot` (28x28, ink bright), drawn at random from the split of the same name
    (Vinyals et al. 2016), so the characters of test are not seen in training. One character gives several objects. Some
    look like themselves when turned.

    Args:
      image_size: Height and width.
      num_train: Objects for training, at most 20,560.
      num_validation: Objects for validation, at most 3,440.
      num_test: Objects for test, at most 8,460.
      seed: Of the choice of objects.

    Raises:
      UserError: If a number is out of range, or Omniglot cannot be had; says how to get it.

    Source: Lake, Salakhutdinov and Tenenbaum 2015, through TFDS; MIT licence.
    """
    return _from_base("omniglot", image_size, num_train, num_validation, num_test, seed)

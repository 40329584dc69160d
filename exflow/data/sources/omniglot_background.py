"""Omniglot divided into Lake's background and evaluation characters, or at random in the same numbers."""

from exflow.data.building.omniglot_splits import NUM_CHARACTERS, division
from exflow.data.building.options import check_at_least
from exflow.data.labelled import load_labelled
from exflow.data.registry import LabelledImages, register

NUM_BACKGROUND = 964
BACKGROUND_TRAIN = NUM_BACKGROUND * 9 // 10  # 867; validation has the other 97


def _box_filtered(image_size: int, seed: int | None) -> LabelledImages:
    """Omniglot by the box filter, 867 / 97 / 659 characters in order or, with a seed, permuted."""
    data = load_labelled("omniglot", image_size=image_size, resize="box")
    split = division(BACKGROUND_TRAIN, NUM_BACKGROUND - BACKGROUND_TRAIN, NUM_CHARACTERS, seed)
    return LabelledImages(data.images, data.labels, split[data.labels])


@register("omniglot_back_eval", cache=False, ink="dark")
def omniglot_back_eval(image_size: int = 28) -> LabelledImages:
    """Omniglot with Lake's background characters, 867 / 97 for train and validation, and 659 evaluation characters.

    In the order of the official file numbers; no alphabet of the test split is seen in training. Pillow's box filter
    brings the drawings to `image_size`, and x = 255 - value, so that ink is bright and images are nearly binary.
    Cached as `omniglot` with `resize="box"`.

    Args:
      image_size: Height and width.

    Raises:
      UserError: If the option is not valid; as for `omniglot`.

    Source: the split of Bartunov and Vetrov 2016, "Fast adaptation in generative models with generative matching
    networks", arXiv:1612.02192; drawings by Lake et al. 2015 (MIT licence).
    """
    return _box_filtered(image_size, None)


@register("omniglot_random", cache=False, ink="dark")
def omniglot_random(image_size: int = 28, seed: int = 0) -> LabelledImages:
    """Omniglot as in omniglot_back_eval, with its 867 / 97 / 659 characters divided at random.

    Args:
      image_size: Height and width.
      seed: Of the division, at least 0; that of the published experiments is not known.

    Raises:
      UserError: If an option is not valid; as for `omniglot`.
    """
    check_at_least("omniglot_random", 0, seed=seed)
    return _box_filtered(image_size, seed)

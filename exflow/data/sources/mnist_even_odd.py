"""MNIST divided by class: a model sees even digits in training and is tested on odd ones."""

import numpy as np

from exflow.data.labelled import load_labelled
from exflow.data.registry import TEST, LabelledImages, register


@register("mnist_even_odd", cache=False, ink="bright")
def mnist_even_odd(image_size: int = 28, resize: str = "bilinear") -> LabelledImages:
    """MNIST by class: even training digits for train and validation (disjoint images), odd test digits for test.

    Validation is the even part of the 5,000 images that `mnist` holds out; `split="standard_trainval"` trains on all
    even digits of the training images, as BRUNO's experiments do. The labels are the digits. Cached as `mnist`.

    Args:
      image_size: Height and width.
      resize: "bilinear", "area" or "nearest".

    Raises:
      UserError: As for `mnist`.

    Source: the division of Korshunova et al. 2018, arXiv:1802.07535; images by LeCun, Cortes and Burges, commonly
    given as CC BY-SA 3.0.
    """
    data = load_labelled("mnist", image_size=image_size, resize=resize)
    kept = np.where(data.split == TEST, data.labels % 2 == 1, data.labels % 2 == 0)
    return LabelledImages(data.images[kept], data.labels[kept], data.split[kept])

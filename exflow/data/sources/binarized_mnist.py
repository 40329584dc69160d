"""Binarised MNIST from TFDS: the fixed binarisation on which likelihoods are compared."""

import numpy as np

from exflow.data import tfds
from exflow.data.registry import SPLITS, LabelledImages, register

URL = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"


@register("binarized_mnist", labelled=False, ink="bright")
def binarized_mnist() -> LabelledImages:
    """Statically binarised MNIST: 50,000 / 10,000 / 10,000 digits of 28x28 pixels of 0 and 255, without labels.

    Every pixel was drawn once with the probability of its grey value, so that likelihoods are comparable. A model of
    single images (`data.batches=images`) learns from it; all images are of class 0, and episodes are refused.

    Raises:
      UserError: As for `mnist`.

    Source: Salakhutdinov and Murray 2008; as distributed for Larochelle and Murray 2011, "The neural autoregressive
    distribution estimator". Numbers on `mnist`, binarised anew in every batch, are of another data set.
    """
    builder = tfds.open_builder("binarized_mnist", "1.*.*", URL)
    parts = [tfds.read_images(builder, part, 1, lambda example: 0)[0] for part in SPLITS]
    images = np.concatenate(parts)
    split = np.repeat(np.arange(len(SPLITS), dtype=np.uint8), [len(part) for part in parts])
    return LabelledImages(np.where(images > 0, np.uint8(255), np.uint8(0)), np.zeros(len(images), np.int32), split)

"""Omniglot from TFDS, divided by character as Vinyals et al. 2016 do."""

import numpy as np

from exflow.data import tfds
from exflow.data.building.omniglot_splits import split_of_label
from exflow.data.registry import LabelledImages, register
from exflow.data.resize import check as check_resize
from exflow.data.resize import resize as resize_images


@register("omniglot", split="vinyals", ink="dark")
def omniglot(image_size: int = 28, resize: str = "bilinear") -> LabelledImages:
    """Omniglot: 1,623 characters of 20 drawings, ink bright (255 - image), one channel, split by Vinyals et al. 2016.

    Lake's two parts are pooled; the label is that of TFDS (0..1622). Images are ordered by label.

    Args:
      image_size: Height and width after the resize from 105x105.
      resize: "bilinear" as in the preprocessing of BRUNO (arXiv:1802.07535), "area" or "nearest".
    """
    check_resize(image_size, resize)
    builder = tfds.open_builder("omniglot", "3.0.0", "https://github.com/brendenlake/omniglot")
    images, labels = tfds.read_images(builder, "train+test", channels=1)
    order = np.argsort(labels, kind="stable")
    images, labels = resize_images(255 - images[order], image_size, resize), labels[order].astype(np.int32)
    return LabelledImages(images, labels, split_of_label()[labels])

"""CIFAR-100 from TFDS, divided by class."""

import numpy as np

from exflow.data import tfds
from exflow.data.registry import TEST, TRAIN, VALIDATION, LabelledImages, register
from exflow.data.resize import check as check_resize
from exflow.data.resize import resize as resize_images

# Superclasses of CIFAR-100, by number: validation and test of the few-shot split FC100; the others are for training.
FC100_VALIDATION = (8, 11, 13, 16)  # large carnivores, large omnivores, invertebrates, small mammals
FC100_TEST = (0, 7, 12, 14)  # aquatic mammals, insects, medium mammals, people


@register("cifar100_classes", split="fc100")
def cifar100_classes(image_size: int = 32, resize: str = "bilinear") -> LabelledImages:
    """CIFAR-100 by class: 60 / 20 / 20 classes of 600 colour images; the splits share no class and no superclass.

    The few-shot split FC100, by superclass. Both parts of TFDS are pooled.

    Args:
      image_size: Height and width.
      resize: "bilinear", "area", "nearest" or "box".

    Raises:
      UserError: If an option is not valid or the data cannot be had.

    Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images"; split of Oreshkin et al. 2018,
    "TADAM", arXiv:1805.10123.
    """
    check_resize(image_size, resize)
    builder = tfds.open_builder("cifar100", "3.*.*", "https://www.cs.toronto.edu/~kriz/cifar.html", "cifar100_classes")
    both = tfds.read_images(builder, "train+test", 3, lambda example: 100 * example["coarse_label"] + example["label"])
    images, (superclass, labels) = both[0], np.divmod(both[1], 100)
    split = np.select(
        [np.isin(superclass, FC100_VALIDATION), np.isin(superclass, FC100_TEST)], [VALIDATION, TEST], TRAIN
    )
    return LabelledImages(resize_images(images, image_size, resize), labels.astype(np.int32), split.astype(np.uint8))

"""CIFAR-10 from TFDS."""

from exflow.data import tfds
from exflow.data.registry import LabelledImages, register


@register("cifar10")
def cifar10(
    image_size: int = 32, resize: str = "bilinear", num_validation: int = tfds.NUM_VALIDATION
) -> LabelledImages:
    """CIFAR-10: 45,000 / 5,000 / 10,000 colour images; validation is the end of the training images in TFDS order.

    `num_validation` tells how many it holds. A TFDS folder that holds only part of the training images gives a smaller
    train split; `exflow.data.prepare` prints the counts.
    """
    url = "https://www.cs.toronto.edu/~kriz/cifar.html"
    return tfds.read_with_validation("cifar10", url, 3, image_size, resize, num_validation)

"""MNIST from TFDS."""

from exflow.data import tfds
from exflow.data.registry import LabelledImages, register


@register("mnist", ink="bright")
def mnist(image_size: int = 28, resize: str = "bilinear", num_validation: int = tfds.NUM_VALIDATION) -> LabelledImages:
    """MNIST: 55,000 / 5,000 / 10,000 digits; validation is the end of the training images in TFDS order.

    `num_validation` tells how many it holds.
    """
    return tfds.read_with_validation(
        "mnist", "https://storage.googleapis.com/cvdf-datasets/mnist/", 1, image_size, resize, num_validation
    )

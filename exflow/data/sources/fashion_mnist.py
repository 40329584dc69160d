"""Fashion-MNIST from TFDS."""

from exflow.data import tfds
from exflow.data.registry import LabelledImages, register


@register("fashion_mnist")
def fashion_mnist(
    image_size: int = 28, resize: str = "bilinear", num_validation: int = tfds.NUM_VALIDATION
) -> LabelledImages:
    """Fashion-MNIST: 55,000 / 5,000 / 10,000 garments; validation is the end of the training images in TFDS order.

    `num_validation` tells how many it holds.
    """
    url = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    return tfds.read_with_validation("fashion_mnist", url, 1, image_size, resize, num_validation)

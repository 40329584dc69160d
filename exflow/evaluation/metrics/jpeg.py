"""Images as a JPEG file leaves them: only to compare with numbers of others who wrote and read such files."""

import io

import numpy as np
from jaxtyping import UInt8

QUALITY = 75  # Pillow's default


def through_jpeg(
    images: UInt8[np.ndarray, "images height width channels"], quality: int = QUALITY
) -> UInt8[np.ndarray, "images height width channels"]:
    """Every grey or RGB image encoded and decoded again, in memory."""
    from PIL import Image

    out = np.empty_like(images)
    for number, image in enumerate(images):
        file = io.BytesIO()
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "JPEG", quality=quality)
        out[number] = np.asarray(Image.open(file)).reshape(image.shape)
    return out

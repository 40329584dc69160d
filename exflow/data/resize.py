"""Resizing of whole arrays of uint8 images, once, when a data set is prepared."""

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from exflow.errors import UserError

METHODS = ("bilinear", "area", "nearest")


def area_weights(size: int, new_size: int) -> Float64[np.ndarray, "new_size size"]:
    """Share of every old pixel in every new pixel, along one axis; rows sum to one."""
    edges = np.arange(new_size + 1) * size / new_size
    old = np.arange(size)
    overlap = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    return np.clip(overlap, 0, None) * new_size / size


def resize(
    images: UInt8[np.ndarray, "num_images height width channels"], image_size: int, method: str = "bilinear"
) -> UInt8[np.ndarray, "num_images image_size image_size channels"]:
    """Resize images to squares of `image_size` pixels.

    Args:
      images: One or three channels for "bilinear", any number for the others.
      image_size: New height and width, at least 1.
      method: "bilinear" is Pillow's antialiased triangle filter, as in the preprocessing of BRUNO; "area" the exact
        mean over the area of the new pixel, rounded; "nearest" the old pixel at the centre of the new one, which is
        the 28x28 Omniglot of the few-shot literature.

    Raises:
      UserError: If the method or the size is not known.
    """
    if method not in METHODS:
        raise UserError(f"resize: expected one of {', '.join(METHODS)}, got {method!r}.")
    if image_size < 1:
        raise UserError(f"image_size: expected at least 1, got {image_size}.")
    height, width = images.shape[1:3]
    if (height, width) == (image_size, image_size):
        return images
    if method == "nearest":
        row = ((np.arange(image_size) + 0.5) * height / image_size).astype(int)
        column = ((np.arange(image_size) + 0.5) * width / image_size).astype(int)
        return images[:, row][:, :, column]
    if method == "area":
        down, across = area_weights(height, image_size), area_weights(width, image_size)
        means = np.einsum("ah,nhwc,bw->nabc", down, images, across, optimize=True)
        return np.floor(means + 0.5).astype(np.uint8)
    size = (image_size, image_size)
    resized = [
        np.asarray(Image.fromarray(x.squeeze(-1) if x.shape[-1] == 1 else x).resize(size, Image.Resampling.BILINEAR))
        for x in images
    ]
    return np.stack(resized).reshape(len(images), *size, images.shape[-1])

"""Resizing of whole arrays of uint8 images, once, when a data set is prepared."""

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from exflow.errors import UserError

METHODS = ("bilinear", "area", "nearest", "box", "pad")
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "box": Image.Resampling.BOX}  # of Pillow
CHUNK = 2000  # images resized at a time


def area_weights(size: int, new_size: int) -> Float32[np.ndarray, "size new_size"]:
    """Length of every old pixel inside every new pixel along one axis, in units of 1/new_size old pixels: integers."""
    old, new = np.arange(size)[:, None], np.arange(new_size)
    overlap = np.minimum((old + 1) * new_size, (new + 1) * size) - np.maximum(old * new_size, new * size)
    return np.clip(overlap, 0, None).astype(np.float32)


def _area(
    images: UInt8[np.ndarray, "num_images height width channels"], image_size: int
) -> UInt8[np.ndarray, "num_images image_size image_size channels"]:
    """Mean over the area of every new pixel, rounded half up; exact, because sums of integers are."""
    num_images, height, width, channels = images.shape
    exact = np.float32 if 255 * height * width < 2**24 else np.float64
    down, across = area_weights(height, image_size).astype(exact), area_weights(width, image_size).astype(exact)
    resized = np.empty((num_images, image_size, image_size, channels), np.uint8)
    for start in range(0, num_images, CHUNK):
        rows = images[start : start + CHUNK].transpose(0, 3, 1, 2).astype(exact) @ across  # [n, c, height, new]
        total = (rows.swapaxes(2, 3) @ down).transpose(0, 3, 2, 1).astype(np.int64)  # [n, new, new, c]
        resized[start : start + CHUNK] = (2 * total + height * width) // (2 * height * width)
    return resized


def check(image_size: int, method: str) -> None:
    """Raise UserError if the size or the method is not known; builders call it before they read anything."""
    if method not in METHODS:
        raise UserError(f"resize: expected one of {', '.join(METHODS)}, got {method!r}.")
    if image_size < 1:
        raise UserError(f"image_size: expected at least 1, got {image_size}.")


def resize(
    images: UInt8[np.ndarray, "num_images height width channels"], image_size: int, method: str = "bilinear"
) -> UInt8[np.ndarray, "num_images image_size image_size channels"]:
    """Resize images to squares of `image_size` pixels.

    Args:
      images: One or three channels for "bilinear" and "box", any number for the others.
      image_size: New height and width, at least 1.
      method: "bilinear" is Pillow's antialiased triangle filter, as in the preprocessing of BRUNO; "area" the exact
        mean over the area of the new pixel, rounded; "nearest" the old pixel at the centre of the new one, which is
        the 28x28 Omniglot of the few-shot literature; "box" Pillow's box filter, the plain mean of the old pixels whose
        centres lie in the new one, which is "area" where the new size divides the old one; "pad" zeros around the
        picture, as many on opposite sides, one more below and right where their number is odd.

    Raises:
      UserError: If the method or the size is not known, or "pad" would have to cut.
    """
    check(image_size, method)
    height, width = images.shape[1:3]
    if (height, width) == (image_size, image_size):
        return images
    if method == "pad":
        if max(height, width) > image_size:
            raise UserError(f"image_size: pictures of {height}x{width} cannot be padded to {image_size}. Enlarge it.")
        above, left = (image_size - height) // 2, (image_size - width) // 2
        rows, columns = (above, image_size - height - above), (left, image_size - width - left)
        return np.pad(images, ((0, 0), rows, columns, (0, 0)))
    if method == "nearest":
        row = ((np.arange(image_size) + 0.5) * height / image_size).astype(int)
        column = ((np.arange(image_size) + 0.5) * width / image_size).astype(int)
        return images[:, row][:, :, column]
    if method == "area":
        return _area(images, image_size)
    size = (image_size, image_size)
    pictures = (Image.fromarray(x.squeeze(-1) if x.shape[-1] == 1 else x) for x in images)
    resized = [np.asarray(picture.resize(size, FILTERS[method])) for picture in pictures]
    return np.stack(resized).reshape(len(images), *size, images.shape[-1])

"""Raw pictures in the convention of a data set."""

from typing import Any

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from exflow.data.registry import known_data_sets
from exflow.data.resize import resize
from exflow.raw_images.polarity import bright_ink
from exflow.raw_images.reading import as_gray, read_pictures


def preprocess(
    raw: Any, data: ConfigDict, image_shape: tuple[int, int, int], invert: bool | None = None
) -> UInt8[np.ndarray, "..."]:
    """Bring raw pictures into the convention of a data set.

    Pictures that are not square get margins of the background colour.

    Args:
      raw: A path, a Pillow image of any mode (turned as its EXIF data say; modes I and F hold values 0..255), an array
        [height, width] or [height, width, channels] of uint8 or other whole numbers 0..255, of bool, or of floats in
        [0, 1], a stack of such arrays with a leading axis, or a list of any of these, whose stacks follow each other. 1
        to 4 channels: gray, gray and opacity, colour, colour and opacity; what is transparent shows white. An array
        with the values 0 and 1 alone is of one bit and stretched to 0 and 255.
      data: Section `data` of a configuration.
      image_shape: Height, width and channels that the model takes.
      invert: Exchange black and white, or not. None: for data sets registered with their `ink` each picture is brought
        to bright ink on black, and gray or uneven paper becomes black (see `polarity`); others stay as they are.

    Returns:
      uint8 [*image_shape] for one picture, else [num, *image_shape].

    Raises:
      UserError: A file is missing or no picture.
      TypeError: Neither pictures nor numbers.
      ValueError: Not the shape or the range of pictures, or the model takes something else than square gray or colour
        images.
    """
    if image_shape[0] != image_shape[1] or image_shape[2] not in (1, 3):
        shape = ", ".join(map(str, image_shape))
        raise ValueError(
            f"preprocess: makes square gray or colour images, and the model takes [{shape}]. Bring them into shape "
            "as its data set does."
        )
    pictures, single = read_pictures(raw)
    data_set = known_data_sets().get(data.dataset)
    ink = data_set.ink if data_set is not None and image_shape[2] == 1 else ""
    if invert is None and ink:
        gray = [as_gray(picture[None])[0, ..., 0] for picture in pictures]
        pictures = [picture[..., None] for picture in bright_ink(gray, ink == "dark")]
    out = np.empty((len(pictures), *image_shape), np.uint8)
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, picture in enumerate(pictures):
        groups.setdefault(picture.shape, []).append(number)
    for numbers in groups.values():
        stacked = np.stack([pictures[n] for n in numbers])
        stacked = as_gray(stacked) if image_shape[2] == 1 else np.broadcast_to(stacked, (*stacked.shape[:3], 3))
        stacked = _square(255 - stacked if invert else stacked)
        stored = resize(stacked, data.image_size, data.resize)
        out[numbers] = resize(stored, data.image_size // data.downscale, "area")
    return out[0] if single else out


def _square(images: np.ndarray) -> np.ndarray:
    """Images with black margins that make them square."""
    height, width = images.shape[1:3]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    margins = ((0, 0), (top, side - height - top), (left, side - width - left), (0, 0))
    return np.pad(images, margins)

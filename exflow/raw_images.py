"""Raw pictures of any size, brought into the convention of a data set: channels, square, polarity, size."""

from typing import Any

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from exflow.data.resize import resize

# Data sets whose pictures are drawn so, and whose arrays hold 255 - picture
BLACK_ON_WHITE = ("glyphs", "omniglot", "omniglot_back_eval", "omniglot_ns", "omniglot_random")
LUMA = np.array([0.299, 0.587, 0.114])  # weights of red, green and blue in grey (ITU-R BT.601)


def preprocess(
    raw: Any, data: ConfigDict, image_shape: tuple[int, int, int], invert: bool | None = None
) -> UInt8[np.ndarray, "..."]:
    """Bring raw pictures into the convention of a data set.

    Pictures that are not square get margins of the background colour. One-bit pictures (bool, or uint8 without a value
    above 1, as some readers deliver Omniglot) are stretched to 0 and 255.

    Args:
      raw: Picture [height, width] or [height, width, channels], a stack with a leading axis, a Pillow image, or a list
        of pictures of any sizes; uint8 or bool; 1, 3 or 4 channels (the fourth is opacity, over white).
      data: Section `data` of a configuration.
      image_shape: Height, width and channels that the model takes.
      invert: Exchange black and white; None: where the data set is drawn black on white.

    Returns:
      uint8 [*image_shape] for one picture, else [num, *image_shape].

    Raises:
      TypeError: Pixels are neither uint8 nor bool.
      ValueError: Not the shape of pictures, or the model takes something else than square gray or colour images.
    """
    if image_shape[0] != image_shape[1] or image_shape[2] not in (1, 3):
        shape = ", ".join(map(str, image_shape))
        raise ValueError(
            f"preprocess: makes square gray or colour images, and the model takes [{shape}]. Bring them into shape "
            "as its data set does."
        )
    invert = data.dataset in BLACK_ON_WHITE if invert is None else invert
    pictures, single = _as_list(raw)
    background = 255 if invert else 0
    out = np.empty((len(pictures), *image_shape), np.uint8)
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, picture in enumerate(pictures):
        groups.setdefault(picture.shape, []).append(number)
    for numbers in groups.values():
        stacked = _square(_channels(np.stack([pictures[n] for n in numbers]), image_shape[2]), background)
        stacked = 255 - stacked if invert else stacked
        stored = resize(stacked, data.image_size, data.resize)
        out[numbers] = resize(stored, data.image_size // data.downscale, "area")
    return out[0] if single else out


def _as_list(raw: Any) -> tuple[list[np.ndarray], bool]:
    """Pictures [height, width, channels] as uint8, and whether one was given and not several."""
    if isinstance(raw, list | tuple):
        pictures = [_as_list(picture)[0][0] for picture in raw]
        return pictures, False
    array = np.asarray(raw)
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if array.dtype != np.uint8:
        raise TypeError(f"raw: expected uint8 pixels 0..255 or bool, got {array.dtype}. Scale and round them first.")
    if array.size and array.max() == 1:
        array = array * np.uint8(255)
    has_channels = array.ndim >= 3 and array.shape[-1] in (1, 3, 4)
    if not 2 <= array.ndim <= 3 + has_channels or array.size == 0:
        raise ValueError(f"raw: expected [height, width, channels] or a stack of them, got {array.shape}.")
    array = array if has_channels else array[..., None]
    return ([array], True) if array.ndim == 3 else (list(array), False)


def _channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Images with the wanted number of channels."""
    if images.shape[-1] == 4:
        opacity = images[..., 3:] / 255.0
        images = np.round(images[..., :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)
    if images.shape[-1] == channels:
        return images
    if channels == 1:
        return np.round(images @ LUMA).astype(np.uint8)[..., None]
    return np.repeat(images, channels, axis=-1)


def _square(images: np.ndarray, background: int) -> np.ndarray:
    """Images with margins that make them square."""
    height, width = images.shape[1:3]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    margins = ((0, 0), (top, side - height - top), (left, side - width - left), (0, 0))
    return np.pad(images, margins, constant_values=background)

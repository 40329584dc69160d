"""Pictures as users have them (files, Pillow images of every mode, arrays, lists of these) as uint8 arrays."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from exflow.errors import UserError

Picture = UInt8[np.ndarray, "height width channels"]  # 1 or 3 channels
LUMA = np.array([19595, 38470, 7471], np.uint32)  # weights of red, green and blue in grey, of 65536, as in Pillow
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
CHANNELS = (1, 2, 3, 4)  # gray, gray and opacity, colour, colour and opacity


def read_pictures(raw: Any) -> tuple[list[Picture], bool]:
    """Pictures as uint8 arrays, and whether one was given and not several; what is transparent shows white.

    Args:
      raw: A picture, a stack of pictures or any sequence of these, as `preprocess` describes them.

    Raises:
      UserError: A file is missing or no picture.
      TypeError: Neither pictures nor numbers.
      ValueError: Not the shape or the range of pictures.
    """
    if isinstance(raw, str | os.PathLike):
        return [_from_file(Path(raw).expanduser())], True
    if isinstance(raw, Image.Image):
        return [_from_pillow(raw)], True
    if isinstance(raw, Sequence):
        return [picture for one in raw for picture in read_pictures(one)[0]], False
    array = np.asarray(raw)
    has_channels = array.ndim >= 3 and array.shape[-1] in CHANNELS
    if not 2 <= array.ndim <= 3 + has_channels or 0 in array.shape[array.ndim - 2 - has_channels :]:
        raise ValueError(f"raw: expected [height, width, channels] or a stack of them, got {array.shape}.")
    array = array if has_channels else array[..., None]
    pictures = _shades(array if array.ndim == 4 else array[None])
    if array.shape[-1] in (2, 4):
        pictures = [_on_white(Image.fromarray(one)) for one in pictures]
    return list(pictures), array.ndim == 3


def as_gray(images: UInt8[np.ndarray, "num height width channels"]) -> UInt8[np.ndarray, "num height width 1"]:
    """Brightness of gray or colour pictures, by the weights and the rounding of Pillow (ITU-R BT.601)."""
    if images.shape[-1] == 1:
        return images
    return ((images @ LUMA + 2**15) >> 16).astype(np.uint8)[..., None]


def _from_file(path: Path) -> Picture:
    try:
        with Image.open(path) as image:
            return _from_pillow(image)
    except UnidentifiedImageError as error:
        raise UserError(f"raw: {path} is no picture that Pillow can read. Convert it to PNG.") from error
    except OSError as error:
        reason = " ".join(str(error.strerror or error).split())
        raise UserError(f"raw: {path} cannot be read ({reason}). Give the path of a picture.") from error


def _from_pillow(image: Image.Image) -> Picture:
    """One picture of any mode, turned as its EXIF data say; of several frames the current one."""
    image = ImageOps.exif_transpose(image)
    if 0 in image.size:
        raise ValueError(f"raw: expected a picture with pixels, got {image.width} x {image.height}.")
    if image.has_transparency_data:
        return _on_white(image)
    if image.mode in SIXTEEN_BITS or image.mode in ("I", "F"):
        return _from_numbers(image)
    gray = image.mode in ("1", "L")
    pixels = np.asarray(image.convert("L" if gray else "RGB"))
    return pixels[..., None] if gray else pixels


def _from_numbers(image: Image.Image) -> Picture:
    """A gray picture of numbers 0..255, as Pillow has it, or of 16 bits, where a number is larger."""
    values = np.asarray(image)
    if image.mode in SIXTEEN_BITS and values.max() > 255:
        return np.round(values / 257.0).astype(np.uint8)[..., None]
    if not ((values >= 0) & (values <= 255)).all():
        raise ValueError(
            f"raw: expected values 0..255 of a picture of mode {image.mode}, got {values.min():g}..{values.max():g}. "
            "Scale them."
        )
    return np.asarray(image.convert("L"))[..., None]


def _on_white(image: Image.Image) -> Picture:
    """A picture with opacity, over white."""
    image = image.convert("LA") if image.mode == "La" else image
    opaque = image.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), opaque).convert("RGB"))


def _shades(stack: Shaped[np.ndarray, "num height width channels"]) -> UInt8[np.ndarray, "num height width channels"]:
    """Numbers as uint8: bool, whole numbers 0..255, floats in [0, 1]; one-bit pictures are stretched to 0 and 255.

    A picture of whole numbers is of one bit if it has the values 0 and 1 alone, as some readers deliver Omniglot. The
    others of a stack play no part.
    """
    if stack.dtype == bool:
        return stack * np.uint8(255)
    if not (np.issubdtype(stack.dtype, np.integer) or np.issubdtype(stack.dtype, np.floating)):
        raise TypeError(f"raw: expected pictures, paths, or numbers, got {stack.dtype}. Convert them to uint8 arrays.")
    top, words = (255, "0..255") if np.issubdtype(stack.dtype, np.integer) else (1, "in [0, 1]")
    if stack.size and not ((stack >= 0) & (stack <= top)).all():
        raise ValueError(
            f"raw: expected {stack.dtype} pixels {words}, got {stack.min():g}..{stack.max():g}. Scale them, or round "
            "them to uint8 0..255."
        )
    if top == 1:
        return np.round(stack * np.float64(255)).astype(np.uint8)
    one_bit: Bool[np.ndarray, " num"] = stack.max(axis=(1, 2, 3), initial=0) == 1
    return stack.astype(np.uint8) * np.where(one_bit, 255, 1).astype(np.uint8)[:, None, None, None]

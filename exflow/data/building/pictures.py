"""Reading picture files of the user: their centre, and the order of their names."""

import io
import re
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from exflow.errors import UserError


def read_centre(file: Path | io.BytesIO, crop: int, variable: str, name: str = "") -> UInt8[np.ndarray, "crop crop 3"]:
    """The centre of a picture in colour.

    Args:
      file: Of the picture.
      crop: Height and width of the centre.
      variable: Environment variable that names its folder, for the message.
      name: Of the picture, for the message; that of a path if empty.

    Raises:
      UserError: If the picture is missing, damaged or smaller than the crop.
    """
    name = name or str(file)
    try:
        with Image.open(file) as picture:
            width, height = picture.size
            left, top = (width - crop) // 2, (height - crop) // 2
            if min(left, top) < 0:
                raise UserError(f"{name}: has {width}x{height} pixels, crop is {crop}. Set crop={min(width, height)}.")
            return np.asarray(picture.convert("RGB").crop((left, top, left + crop, top + crop)))
    except (OSError, SyntaxError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{name}: cannot be read ({reason}). Complete the folder that {variable} names.") from error


def numeric_order(path: Path) -> list[tuple[int, str]]:
    """Sort key under which 2 comes before 10."""
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", path.stem)]

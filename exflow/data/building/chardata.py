"""The file chardata.mat of Burda et al.: Omniglot as grey pictures of 28x28, in two parts."""

import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, UInt8
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from exflow.errors import UserError

VARIABLE = "EXFLOW_CHARDATA"  # names the file
FILE = "the file chardata.mat of GitHub yburda/iwae (datasets/OMNIGLOT)"
SIZE = 28  # of its pictures
DAMAGE = OSError, ValueError, KeyError, TypeError, NotImplementedError, EOFError, zlib.error, MatReadError


class Chardata(NamedTuple):
    """Both parts, one after the other."""

    images: UInt8[np.ndarray, "num 28 28 1"]  # upright, ink bright; grey values rounded to 1 / 255
    labels: Int32[np.ndarray, " num"]  # numbers the pairs of alphabet and character
    is_test: Bool[np.ndarray, " num"]  # of the second part


def read_chardata(path: Path) -> Chardata:
    """Read the file.

    Raises:
      UserError: It is damaged or of another form.
    """
    names = "data", "target", "targetchar"
    try:
        found = loadmat(path, appendmat=False, variable_names=[*names, *(f"test{name}" for name in names)])
        parts = [np.concatenate([found[name], found[f"test{name}"]], axis=1) for name in names]
        if any(part.dtype.kind not in "uif" or part.shape[1] != parts[0].shape[1] for part in parts):
            raise ValueError(f"shapes {', '.join(str(part.shape) for part in parts)}")
        data, alphabet, character = parts
        if len(data) != SIZE * SIZE or not 0 <= data.min() <= data.max() <= 1:
            raise ValueError(f"pixels {data.shape} from {data.min()} to {data.max()}")
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: cannot be read as chardata.mat ({reason}). Expected data [784, num] in 0..1, target [50, num] "
            f"and targetchar [1, num], and the same with test before the names. Correct {VARIABLE}."
        ) from error
    pairs = np.stack([alphabet.argmax(axis=0), character[0].astype(np.int64)])
    labels = np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1)
    # One column per picture, itself stored column by column, as MATLAB does.
    pictures = np.floor(255 * data.T.astype(np.float64) + 0.5).astype(np.uint8).reshape(-1, SIZE, SIZE).swapaxes(1, 2)
    is_test = np.arange(len(labels)) >= found["data"].shape[1]
    return Chardata(np.ascontiguousarray(pictures)[..., None], labels.astype(np.int32), is_test)

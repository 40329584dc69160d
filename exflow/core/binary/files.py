"""Files of what was fitted: plain arrays and the name of the kind, readable anywhere."""

from pathlib import Path

import numpy as np

from exflow.core.binary.model import BinaryModel, FittedBits, from_arrays, to_arrays
from exflow.errors import UserError

KIND = "kind"  # besides the arrays


def save(path: Path, model: BinaryModel, fitted: FittedBits) -> None:
    """Write what was fitted to one .npz file."""
    with Path(path).open("wb") as file:
        np.savez(file, **{KIND: np.array(model.kind)}, **to_arrays(fitted))  # pyright: ignore[reportArgumentType]


def load(path: Path, model: BinaryModel) -> FittedBits:
    """What `save` wrote, in the same precision.

    Raises:
      UserError: It is of another kind.
    """
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    kind = str(arrays.pop(KIND, "no model of binary vectors"))
    if kind != model.kind:
        raise UserError(f"{path}: expected what was fitted of kind {model.kind}, got {kind}. Name the right kind.")
    return from_arrays(model, arrays)

"""What a model's sampler is fitted to after training: kept in the working directory, bound to its checkpoint."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from exflow.errors import UserError
from exflow.model import Fitted, FittedBy, Model
from exflow.training.array_names import digest_of, named_leaves
from exflow.training.hosts import on_first_host
from exflow.typing import Params

OF = "of"  # besides the arrays: digest of step and parameters


def file_of(workdir: Path, method: str) -> Path:
    """Where the fit of a method lies."""
    return Path(workdir) / f"fitted-{method}.npz"


def fitted_by(
    workdir: Path, model: Model, params: Params, step: int, training_codes: Callable[[], np.ndarray] | None
) -> FittedBy | None:
    """What the sampler is fitted to by each method: as it was stored for this checkpoint, else fitted and stored.

    Args:
      workdir: Working directory.
      model: A model.
      params: Its parameters, of a checkpoint.
      step: Step of the checkpoint.
      training_codes: Called where something is fitted; codes [num, length] of all training images. None: nothing can be
        fitted any more.

    Returns:
      Function of the name of a method, "" for the first; None for a model without a sampler. It raises UserError where
      there is no such method, nothing is stored and nothing can be fitted, or the directory cannot be written.
    """
    sampler, known, found = model.sampler, _checkpoint(params, step), {}
    if sampler is None:
        return None

    def fitted(method: str) -> Fitted:
        method = method or sampler.methods[0]
        if method not in sampler.methods:
            raise UserError(f"sampling method: expected one of {', '.join(sampler.methods)}, got {method!r}.")
        if method not in found:
            found[method] = _read(file_of(workdir, method), known) or fit(method)
        return found[method]

    def fit(method: str) -> Fitted:
        if training_codes is None:
            raise UserError(
                f"{model.name}: its sampler has not been fitted by method {method}. Use --mode=sample "
                f"--config.sampling.method={method} on its directory, {workdir}."
            )
        arrays = sampler.fit(training_codes(), method)
        on_first_host(lambda: _write(file_of(workdir, method), arrays | {OF: np.array(known)}))
        return arrays

    return fitted


def _read(path: Path, known: str) -> Fitted | None:
    """What is stored for this checkpoint; None where nothing is, or something of another checkpoint or model."""
    if not path.exists():
        return None
    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return arrays if str(arrays.pop(OF)) == known else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # damaged: it can be fitted again
        return None


def _checkpoint(params: Params, step: int) -> str:
    """Digest of a step and all parameters, the same where single precision was widened to double."""
    arrays = {name: np.asarray(leaf) for name, leaf in named_leaves(params).items()}
    single = {name: a.astype(np.float32) if a.dtype == np.float64 else a for name, a in arrays.items()}
    return digest_of(single, {"step": step})


def _write(path: Path, arrays: Fitted) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}). Free disk space or change --workdir."
        ) from error

"""What a model's sampler is fitted to after training: kept in the working directory, bound to its checkpoint.

Codes of the training images come from one clean pass with that checkpoint and are kept as well, bits packed.
"""

import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from exflow.core.binary.codes import PackedBits, pack, unpack
from exflow.errors import UserError
from exflow.model import Fitted, FittedCodes, Model, TrainingCodes
from exflow.training.array_names import digest_of, named_leaves
from exflow.training.hosts import on_first_host
from exflow.typing import Params

OF = "of"  # besides the arrays: digest of step and parameters
CODES = "codes.npz"


def file_of(workdir: Path, method: str) -> Path:
    """Where the fit of a method lies."""
    return Path(workdir) / f"fitted-{method}.npz"


def fitted_codes(
    workdir: Path, model: Model, params: Params, step: int, encode: Callable[[], TrainingCodes] | None
) -> FittedCodes | None:
    """The training codes and what the sampler is fitted to: as stored for this checkpoint, else found now and stored.

    Args:
      workdir: Working directory.
      model: A model.
      params: Its parameters, of a checkpoint.
      step: Step of the checkpoint.
      encode: Called where codes are not stored. None: nothing can be encoded or fitted any more.

    Returns:
      Functions that raise UserError where there is no such method, where nothing is stored and nothing can be found, or
      where the directory cannot be written. None for a model without a sampler.
    """
    sampler, known = model.sampler, _checkpoint(params, step)
    if sampler is None:
        return None
    found: dict[str, Fitted] = {}
    codes: list[TrainingCodes] = []

    def stored(path: Path, make: Callable[[], Fitted] | None, what: str) -> Fitted:
        arrays = _read(path, known)
        if arrays is not None:
            return arrays
        if make is None:
            raise UserError(
                f"{model.name}: {what}. Use --mode=sample on its directory, {workdir}, with --config.sampling.method."
            )
        made = make()
        on_first_host(lambda: _write(path, made | {OF: np.array(known)}))
        return made

    def by(method: str) -> Fitted:
        method = method or sampler.methods[0]
        if method not in sampler.methods:
            raise UserError(f"sampling method: expected one of {', '.join(sampler.methods)}, got {method!r}.")
        if method not in found:
            fit = None if encode is None else lambda: sampler.fit(training().codes, method)
            what = f"its sampler has not been fitted by method {method}"
            found[method] = stored(file_of(workdir, method), fit, what)
        return found[method]

    def training() -> TrainingCodes:
        if not codes:
            make = None if encode is None else partial(_packed, encode)
            codes.append(_unpacked(stored(Path(workdir) / CODES, make, "its training codes are not stored")))
        return codes[0]

    return FittedCodes(by, training)


def _packed(encode: Callable[[], TrainingCodes]) -> Fitted:
    training = encode()
    codes, names = training.codes, np.array(training.attribute_names, dtype=str)
    bits = {} if codes.dtype != bool else {"num_bits": np.array(codes.shape[-1])}
    array = pack(codes).packed if bits else codes
    facts = {"labels": training.labels, "attributes": training.attributes, "attribute_names": names}
    return {"codes": array} | bits | facts


def _unpacked(arrays: Fitted) -> TrainingCodes:
    codes = arrays["codes"]
    if "num_bits" in arrays:
        codes = unpack(PackedBits(codes, int(arrays["num_bits"])))
    names = tuple(map(str, arrays["attribute_names"]))
    return TrainingCodes(codes, arrays["labels"], arrays["attributes"], names)


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

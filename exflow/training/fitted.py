"""What a model's sampler is fitted to after training: kept in the working directory, bound to its checkpoint."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from exflow.errors import UserError
from exflow.model import Model, Sampler
from exflow.training.array_names import all_leaves, digest_of, named_leaves
from exflow.training.hosts import on_first_host
from exflow.typing import Element, Params

FILE = "fitted.npz"
OF, COUNT = "of", "num_elements"  # besides the arrays: digest of step and parameters, number of elements


def fitted(
    workdir: Path, model: Model, params: Params, step: int, training_elements: Callable[[], Element]
) -> Params | None:
    """What the sampler is fitted to: as it was stored for this checkpoint, else fitted now and stored.

    Args:
      workdir: Working directory.
      model: A model.
      params: Its parameters, of a checkpoint.
      step: Step of the checkpoint.
      training_elements: Called where something is fitted; elements [num] of all training images.

    Returns:
      Pytree of numpy arrays; None for a model without a sampler.

    Raises:
      UserError: The directory cannot be written.
    """
    if model.sampler is None:
        return None
    stored = read_fitted(workdir, model, params, step)
    if stored is not None:
        return stored
    elements = training_elements()
    found = jax.device_get(jax.jit(model.sampler.fit)(params, elements))
    arrays = {
        OF: np.array(_checkpoint(params, step)),
        COUNT: np.array(len(jax.tree.leaves(elements)[0])),
        **{name: np.asarray(leaf) for name, leaf in all_leaves({"fitted": found}).items()},
    }
    on_first_host(lambda: _write(Path(workdir) / FILE, arrays))
    return found


def read_fitted(workdir: Path, model: Model, params: Params, step: int) -> Params | None:
    """What is stored for this checkpoint; None where nothing is, or something of another checkpoint or model."""
    path = Path(workdir) / FILE
    if model.sampler is None or not path.exists():
        return None
    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if str(arrays[OF]) != _checkpoint(params, step):
            return None
        like = {"fitted": _like(model, model.sampler, params, int(arrays[COUNT]))}
        leaves = [arrays[name] for name in all_leaves(like)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # damaged: it can be fitted again
        return None
    return jax.tree.unflatten(jax.tree.structure(like), leaves)["fitted"]


def _checkpoint(params: Params, step: int) -> str:
    """Digest of a step and all parameters, the same where single precision was widened to double."""
    arrays = {name: np.asarray(leaf) for name, leaf in named_leaves(params).items()}
    single = {name: a.astype(np.float32) if a.dtype == np.float64 else a for name, a in arrays.items()}
    return digest_of(single, {"step": step})


def _like(model: Model, sampler: Sampler, params: Params, count: int) -> Params:
    """Structure of what is fitted to so many elements, without computing anything."""

    def fit(params: Params) -> Params:
        x = jnp.zeros((count, *model.image_shape), model.value_dtype)
        context = jnp.zeros((count, model.context_dim)) if model.context_dim else None
        return sampler.fit(params, model.encode(params, None, x, context))

    return jax.eval_shape(fit, params)


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}). Free disk space or change --workdir."
        ) from error

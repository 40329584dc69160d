"""Parameters of a trained model from a working directory or from a file that comes with exflow; nothing is written.

A bundled model is two files in `exflow/bundled`: `<name>.npz` with the parameters (matrices and kernels in half
precision, vectors in float32; no pickle) and `<name>.json` with its configuration, image shape, structure and origin.
Beside them lies `<name>.results.json`, the evaluation of these very files.
"""

import difflib
import json
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from exflow.config import from_json
from exflow.errors import UserError
from exflow.model import FittedCodes, Model
from exflow.models import registry
from exflow.models.registry import params_like
from exflow.training.array_names import all_leaves, described, fitting, from_description, named_leaves
from exflow.typing import Params

BUNDLED = Path(__file__).resolve().parent / "bundled"
CHECKPOINTS = ("best", "latest")
HALF_MAX = 6e4  # larger values stay in float32


class Trained(NamedTuple):
    """A model with its parameters."""

    model: Model
    params: Params
    config: ConfigDict
    info: dict[str, Any]  # step, source, ...
    fitted: FittedCodes | None = None  # what the model's sampler was fitted to after training


def find(path_or_name: str | os.PathLike, checkpoint: str = "best") -> Trained:
    """Open a working directory, or else a bundled model of that name.

    Raises:
      UserError: Neither exists, or it cannot be read; says what to do.
    """
    path = Path(path_or_name).expanduser()
    if path.is_dir():
        return from_workdir(path, checkpoint)
    name = os.fspath(path_or_name)
    if (BUNDLED / f"{name}.json").is_file():
        return from_bundle(BUNDLED / name)
    known = bundled_names()
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listing = ", ".join(known) or "none"
    raise UserError(f"load: no working directory {name!r} and no bundled model of that name.{hint} Bundled: {listing}.")


def bundled_names() -> list[str]:
    """Names of the models that come with exflow."""
    return sorted(path.stem for path in BUNDLED.glob("*.npz"))


def bundled_from(config: ConfigDict) -> str | None:
    """Name of the bundled model that the command of this configuration has trained; None: there is none."""
    for name in bundled_names():
        made = json.loads((BUNDLED / f"{name}.json").read_text())["config"]
        if (made["name"], made["variant"]) == (config.name, config.variant):
            return name
    return None


def from_workdir(workdir: Path, checkpoint: str = "best") -> Trained:
    """Read the parameters of a training run; safe while it is still running.

    Averaged parameters are taken where training kept them and `config.evaluation.use_ema` asks for them, so that the
    default is what `results.json` describes.

    Args:
      workdir: Working directory with config.json and checkpoints/.
      checkpoint: "best" (by `config.training.best_metric`; the latest where no step was validated) or "latest".

    Returns:
      The model.

    Raises:
      UserError: No configuration, no good checkpoint, or one that does not fit the configuration.
    """
    # Orbax, which reads checkpoints, takes a second to import; a bundled model does without it
    from exflow.training.checkpoint_format import image_shape_on_disk
    from exflow.training.fitted import fitted_codes
    from exflow.training.parameters import evaluates_averages, load_params

    if checkpoint not in CHECKPOINTS:
        raise UserError(f"checkpoint: expected one of {CHECKPOINTS}, got {checkpoint!r}.")
    config = read_config(workdir / "config.json")
    model = registry.build(config, image_shape_on_disk(workdir / "checkpoints"))
    params, meta = load_params(config, workdir, model, checkpoint, _warn)
    info = {"source": str(workdir), "step": meta["step"], "averaged": evaluates_averages(config)}
    fitted = fitted_codes(workdir, model, params, meta["step"], None)
    return Trained(model, params, config, info, fitted)


def from_bundle(path: Path) -> Trained:
    """Read `<path>.npz` and `<path>.json`.

    Raises:
      UserError: A file is missing or does not hold what it should.
    """
    try:
        meta = json.loads(path.with_name(f"{path.name}.json").read_text())
        config = from_json(json.dumps(meta["config"]))
        with np.load(path.with_name(f"{path.name}.npz"), allow_pickle=False) as stored:
            arrays = {name: stored[name].astype(np.float32) for name in stored.files}
        height, width, channels = meta["image_shape"]
        like = None
        if "structure" in meta and not jax.config.values["jax_enable_x64"]:  # which makes some arrays double
            like = {"params": from_description(meta["structure"])}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"load: {path}.npz or .json cannot be read ({error}). Install exflow again.") from error

    model = registry.build(config, (height, width, channels))
    like = like or {"params": params_like(model, config)}
    arrays = fitting(arrays, like, path)
    leaves = [arrays.get(name, np.zeros(leaf.shape, leaf.dtype)) for name, leaf in all_leaves(like).items()]
    params = jax.tree.unflatten(jax.tree.structure(like), leaves)["params"]
    return Trained(model, params, config, {**meta.get("info", {}), "source": path.name})


def export_bundled(trained: Trained, name: str, folder: Path = BUNDLED) -> Path:
    """Write a model as a bundled one, in about half the size of its parameters.

    Args:
      trained: From `find` or `from_workdir`.
      name: File name without ending.
      folder: Where to write; the package's own folder by default.

    Returns:
      The .npz file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for leaf_name, leaf in named_leaves({"params": trained.params}).items():
        value = np.asarray(leaf)
        small = value.ndim >= 2 and np.abs(value).max(initial=0.0) < HALF_MAX
        arrays[leaf_name] = value.astype(np.float16) if small else value
    path = folder / f"{name}.npz"
    np.savez_compressed(path, **arrays)
    info = {key: value for key, value in trained.info.items() if key != "source"}
    meta = {"config": trained.config.to_dict(), "image_shape": trained.model.image_shape, "info": info}
    structure = described(trained.params)
    if structure is not None:  # so that opening it need not trace how its parameters are made
        meta["structure"] = structure
    (folder / f"{name}.json").write_text(json.dumps(meta, indent=1) + "\n")
    return path


def read_config(path: Path) -> ConfigDict:
    """The configuration in a working directory.

    Raises:
      UserError: It is missing or unreadable.
    """
    try:
        return from_json(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"load: no config.json in {path.parent}. Give the --workdir of a training run.") from error
    except UserError:
        raise
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"load: {path} cannot be read ({error}). Restore it, or train again.") from error


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)

"""Prepared data sets as plain `.npz` files of images or vectors: no TensorFlow and no pickle needed to read them."""

import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from exflow.data.fingerprint import digest, encode
from exflow.data.registry import SPLITS, LabelledImages, known_data_sets
from exflow.errors import UserError

FORMAT = 1  # of the file; a reader refuses other numbers
READABLE = 100  # characters of a file name before the digest


def tfds_dir() -> Path:
    """Folder of TFDS: $TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
      UserError: If $TFDS_DATA_DIR is set and is not a folder.
    """
    configured = os.environ.get("TFDS_DATA_DIR")
    if configured and not Path(configured).expanduser().is_dir():
        raise UserError(
            f"TFDS_DATA_DIR: expected a folder, got {configured}. Correct it, create the folder, or unset it."
        )
    return Path(configured).expanduser() if configured else Path.home() / "tensorflow_datasets"


def cache_dirs() -> list[Path]:
    """Where prepared files are looked for, in this order; new ones go to the first that can be written."""
    configured = os.environ.get("EXFLOW_CACHE_DIR")
    if configured:
        return [Path(configured).expanduser()]
    return [tfds_dir() / "exflow", Path.home() / ".cache" / "exflow"]


def file_name(name: str, options: dict) -> str:
    """Name of the file of one data set with one combination of options, such as omniglot-28-bilinear-<digest>.npz.

    The digest tells apart builders of one name and options that look alike.
    """
    data_set = known_data_sets().get(name)
    source = "" if data_set is None else data_set.source
    readable = re.sub(r"[^\w.+=-]", "_", "-".join([name, *map(str, options.values())]), flags=re.ASCII)[:READABLE]
    return f"{readable}-{digest(encode((name, source, options)))}.npz"


def find(name: str, options: dict) -> Path | None:
    """The prepared file, or None."""
    paths = [folder / file_name(name, options) for folder in cache_dirs()]
    return next((path for path in paths if path.is_file()), None)


def check(data: LabelledImages) -> None:
    """Raise ValueError where arrays do not have the documented types, shapes and ranges."""
    images, labels, split, context = data[:4]
    vectors = images.dtype == np.float32
    if vectors and (images.ndim != 4 or images.shape[1:3] != (1, 1) or not np.isfinite(images).all()):
        raise ValueError(f"images: expected uint8 pixels or finite float32 [num, 1, 1, dim], got {images.shape}")
    for array, field, dtype, ndim in (
        (images, "images", np.float32 if vectors else np.uint8, 4),
        (labels, "labels", np.int32, 1),
        (split, "split", np.uint8, 1),
    ):
        if array.dtype != dtype or array.ndim != ndim:
            raise ValueError(f"{field}: expected {np.dtype(dtype)} with {ndim} axes, got {array.dtype} {array.shape}")
    if not len(images) == len(labels) == len(split):
        raise ValueError(f"images, labels and split differ in length: {len(images)}, {len(labels)}, {len(split)}")
    if context is not None and (
        context.dtype != np.float32
        or context.ndim != 2
        or len(context) != len(images)
        or not np.isfinite(context).all()
    ):
        raise ValueError(f"context: expected finite float32 [{len(images)}, dim], got {context.dtype} {context.shape}")
    _check_attributes(data)
    if labels.min(initial=0) < 0:
        raise ValueError("labels: expected values of at least 0")
    if set(np.unique(split)) != set(range(len(SPLITS))):
        raise ValueError(f"split: expected images in each of {', '.join(SPLITS)}")


def _check_attributes(data: LabelledImages) -> None:
    attributes, names = data.attributes, data.attribute_names
    shape = len(data.images), len(names)
    if attributes is None:
        if names:
            raise ValueError(f"attributes: expected {len(names)} of each image, as attribute_names tells, got none")
    elif (
        attributes.dtype not in (np.uint8, np.float32) or attributes.shape != shape or not np.isfinite(attributes).all()
    ):
        raise ValueError(
            f"attributes: expected uint8 or finite float32 {list(shape)} with one of attribute_names per column, got "
            f"{attributes.dtype} {attributes.shape}"
        )
    if len(set(names)) < len(names) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"attribute_names: expected different names, got {names}")


def read(path: Path) -> LabelledImages:
    """Read and check a prepared file.

    Raises:
      UserError: If the file is damaged or not of this format; names the file.
    """
    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            if int(file["format"]) != FORMAT:
                raise ValueError(f"format {int(file['format'])}, expected {FORMAT}")
            context, attributes, names = (
                file[field] if field in file.files else None for field in ("context", "attributes", "attribute_names")
            )
            names = () if names is None else tuple(names.tolist())
            data = LabelledImages(file["images"], file["labels"], file["split"], context, attributes, names)
        check(data)
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: cannot be read as a prepared data set ({reason}). Delete this file and run again."
        ) from error
    return data


def read_notes(path: Path) -> list[str]:
    """What `provenance` noted when a prepared file was built, which `read` has found good."""
    with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
        return file["notes"].tolist() if "notes" in file.files else []


def write(name: str, options: dict, data: LabelledImages, notes: Sequence[str] = ()) -> Path:
    """Write a prepared file, whole or not at all, and return where it is.

    Args:
      name: Of the data set.
      options: All of them.
      data: What the builder returned.
      notes: What it depends on, from `provenance.recording`.

    Raises:
      UserError: If no cache folder can be written.
    """
    check(data)
    folders = cache_dirs()
    for folder in folders:
        path, temporary = folder / file_name(name, options), None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
            with os.fdopen(descriptor, "wb") as file:
                names = np.array(data.attribute_names) if data.attribute_names else None
                fields: dict[str, Any] = data._asdict() | {"attribute_names": names}
                fields |= {"notes": np.array(notes) if notes else None}
                arrays = {field: array for field, array in fields.items() if array is not None}
                np.savez_compressed(file, format=FORMAT, **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
            return path
        except OSError:
            continue  # not writable, or full
        finally:
            if temporary:
                Path(temporary).unlink(missing_ok=True)
    tried = " or ".join(str(folder) for folder in folders)
    raise UserError(
        f"{name}: prepared data cannot be written to {tried}. Set EXFLOW_CACHE_DIR to a folder you may write."
    )

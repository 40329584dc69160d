"""CelebA as single pictures in its official splits, with 40 attributes of each: of the user's, see `celeba`."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from exflow.data import prepared, provenance, tfds
from exflow.data.building.options import check_at_least, user_path
from exflow.data.building.pictures import read_centre
from exflow.data.registry import SPLITS, LabelledImages, register
from exflow.data.resize import check as check_resize
from exflow.data.sources.celeba import ADVICE, PICTURES, TFDS, VARIABLE, resized
from exflow.errors import UserError

PARTITION, ATTRIBUTES = "list_eval_partition.txt", "list_attr_celeba.txt"


@register("celeba_faces", labelled=False)
def celeba_faces(image_size: int = 64, resize: str = "bilinear", crop: int = 178) -> LabelledImages:
    """CelebA: 162,770 / 19,867 / 19,962 pictures with 40 attributes (0 or 1), without classes.

    From the folder $EXFLOW_CELEBA (with the official lists beside the pictures), or where that is not set from a
    prepared `celeb_a` of TensorFlow Datasets. The centre of the aligned pictures (178x218) is brought to `image_size`.

    Args:
      image_size: Height and width.
      resize: How; see `exflow.data.resize`.
      crop: Height and width of the centre; 178 keeps the whole width and the background, other work takes 140 or 148.

    Raises:
      UserError: If files are missing or damaged, or an option is not valid.

    Source: Liu et al. 2015, "Deep learning face attributes in the wild", arXiv:1411.7766, for non-commercial research.
    """
    check_resize(image_size, resize)
    check_at_least("celeba_faces", 1, crop=crop)
    folder = prepared.tfds_dir() / TFDS[0] / TFDS[1]
    if VARIABLE not in os.environ and folder.is_dir():
        provenance.note(provenance.FILES, VARIABLE, "not set")
        pictures, split, attributes, names = _from_tfds(crop)
    else:
        folder = user_path("celeba_faces", VARIABLE, "folder", ADVICE)
        pictures, split, attributes, names = _from_folder(folder, crop)
    images = resized(pictures, len(split), image_size, resize)
    return LabelledImages(images, np.zeros(len(split), np.int32), split, attributes=attributes, attribute_names=names)


Faces = tuple[Iterator[np.ndarray], UInt8[np.ndarray, " num"], UInt8[np.ndarray, "num attributes"], tuple[str, ...]]


def _from_tfds(crop: int) -> Faces:
    builder = tfds.open_builder(*TFDS, "http://mmlab.ie.cuhk.edu.hk", "celeba_faces")
    parts = [tfds.undecoded(builder, name) for name in SPLITS]
    facts = [list(part.map(lambda one: one["attributes"]).as_numpy_iterator()) for part in parts]
    split = np.repeat(np.arange(len(SPLITS)), [len(part) for part in facts]).astype(np.uint8)
    attributes = [one for part in facts for one in part]
    names = tuple(sorted(attributes[0]))

    def pictures() -> Iterator[np.ndarray]:
        for part, name in zip(parts, SPLITS, strict=True):
            for number, file in enumerate(part.map(lambda one: one["image"]).as_numpy_iterator()):
                yield read_centre(io.BytesIO(file), crop, "TFDS_DATA_DIR", f"{TFDS[0]}, {name} picture {number}")

    return pictures(), split, np.array([[one[name] for name in names] for one in attributes], np.uint8), names


def _from_folder(folder: Path, crop: int) -> Faces:
    partition = {line[0]: line[1] for line in _lines(folder / PARTITION, 2)}
    names, *rows = _lines(folder / ATTRIBUTES, None)[1:]  # behind the number of pictures
    signs = {row[0]: row[1:] for row in rows}
    for file, part in partition.items():
        if part not in ("0", "1", "2") or Path(file).name != file or len(signs.get(file, ())) != len(names):
            raise UserError(
                f"{folder}: {file} has no split in {PARTITION} or no attributes in {ATTRIBUTES}. Complete it."
            )
    attributes = np.array([[int(sign) > 0 for sign in signs[file]] for file in partition], np.uint8)
    pictures = (read_centre(folder / PICTURES / file, crop, VARIABLE) for file in partition)
    return pictures, np.array([int(part) for part in partition.values()], np.uint8), attributes, tuple(names)


def _lines(path: Path, words: int | None) -> list[list[str]]:
    """Words of the lines of a list.

    Raises:
      UserError: It cannot be read, or a line has another number of words.
    """
    try:
        lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Complete the folder that {VARIABLE} names.") from error
    wrong = [number for number, line in enumerate(lines, start=1) if words is not None and len(line) != words]
    if wrong:
        raise UserError(f"{path}, line {wrong[0]}: expected {words} words. Correct the file.")
    return lines

"""CelebA as sets of pictures of one person each: of the user's, because its terms forbid passing it on."""

import io
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, UInt8
from tqdm import tqdm

from exflow.data import prepared, provenance, tfds
from exflow.data.building.options import check_at_least, user_path
from exflow.data.building.pictures import read_centre
from exflow.data.registry import TEST, TRAIN, VALIDATION, LabelledImages, register
from exflow.data.resize import check as check_resize
from exflow.data.resize import resize
from exflow.errors import UserError

VARIABLE = "EXFLOW_CELEBA"
PICTURES, IDENTITIES = "img_align_celeba", "identity_CelebA.txt"
TFDS = ("celeb_a", "2.1.0")  # name and version; earlier ones have no identities
ADVICE = (
    f"a folder with {PICTURES}/*.jpg and {IDENTITIES}, or TFDS_DATA_DIR to one with {TFDS[0]} {TFDS[1]} of TensorFlow "
    "Datasets; configs/bruno_cifar10.py runs without it."
)
FEWEST, MOST = 20, 30  # pictures of a person that is used
CHUNK = 500  # pictures resized at a time


class Source(NamedTuple):
    """All pictures, before those that are used are read."""

    person: Int32[np.ndarray, " num"]
    pictures_of: Callable[[Bool[np.ndarray, " num"]], Iterator[np.ndarray]]  # used -> the pictures that are
    attributes: UInt8[np.ndarray, "num num_attributes"] | None = None  # 0 or 1
    attribute_names: tuple[str, ...] = ()


def read_identities(path: Path) -> dict[str, int]:
    """Number of the person on every picture, by file name.

    Raises:
      UserError: If the file is missing or a line is not "<file name> <number>"; names the line.
    """
    identities = {}
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Complete the folder that {VARIABLE} names.") from error
    for number, line in enumerate(filter(str.strip, lines), start=1):
        words = line.split()
        if len(words) != 2 or not words[1].isdecimal() or Path(words[0]).name != words[0]:
            raise UserError(f"{path}, line {number}: expected '<file name> <number>', got {line!r}. Correct the file.")
        identities[words[0]] = int(words[1])
    return identities


def split_of_identities(identities: Int32[np.ndarray, " num"]) -> UInt8[np.ndarray, " num"]:
    """Split of sorted persons: the first 70 % train, the next 10 % validation, 20 % test; bounds are rounded down."""
    position, num = np.arange(len(identities)), len(identities)
    return np.select([position < num * 7 // 10, position < num * 8 // 10], [TRAIN, VALIDATION], TEST).astype(np.uint8)


@register("celeba_identities")
def celeba_identities(image_size: int = 64, crop: int = 148) -> LabelledImages:
    """CelebA by person: those with 20 to 30 pictures, 70 / 10 / 20 % of them in sorted order.

    From the folder $EXFLOW_CELEBA, or where that is not set from a prepared `celeb_a` of TensorFlow Datasets, in whose
    order the pictures of a person then stand, with 40 attributes of every picture (0 or 1, in the order of their names,
    such as "Smiling"). With the complete data set 4,444 / 635 / 1,270 persons. The label is the official number of the
    person. The centre of the aligned pictures (178x218) is brought to `image_size` by averaging areas; how the
    published experiments cropped is not known. The result (about 2 GB) is cached until the files change.

    Args:
      image_size: Height and width.
      crop: Height and width of the centre; 178 keeps the whole width.

    Raises:
      UserError: If files are missing or damaged, or an option is not valid.

    Source: Liu et al. 2015, "Deep learning face attributes in the wild", arXiv:1411.7766, for non-commercial research;
    division of Giannone and Winther 2022, arXiv:2110.12279.
    """
    check_resize(image_size, "area")
    check_at_least("celeba_identities", 1, crop=crop)
    folder = prepared.tfds_dir() / TFDS[0] / TFDS[1]
    if VARIABLE not in os.environ and folder.is_dir():
        provenance.note(provenance.FILES, VARIABLE, "not set")
        place, source = folder, _from_tfds(crop)
    else:
        folder = user_path("celeba_identities", VARIABLE, "folder", ADVICE)
        place, source = folder / IDENTITIES, _from_folder(folder, crop)
    person = source.person
    persons, counts = np.unique(person, return_counts=True)
    persons = persons[(counts >= FEWEST) & (counts <= MOST)]
    if len(persons) < 10:
        raise UserError(
            f"{place}: expected at least 10 persons with {FEWEST} to {MOST} pictures, got {len(persons)}. Complete it."
        )
    used = np.isin(person, persons)
    images, labels = resized(source.pictures_of(used), int(used.sum()), image_size, "area"), person[used]
    return LabelledImages(
        images=images,
        labels=labels,
        split=split_of_identities(persons)[np.searchsorted(persons, labels)],
        attributes=None if source.attributes is None else source.attributes[used],
        attribute_names=source.attribute_names,
    )


def _from_folder(folder: Path, crop: int) -> Source:
    person_of = read_identities(folder / IDENTITIES)

    def pictures_of(used: np.ndarray) -> Iterator[np.ndarray]:
        for name in itertools.compress(person_of, used):
            yield read_centre(folder / PICTURES / name, crop, VARIABLE)

    return Source(np.array(list(person_of.values()), np.int32), pictures_of)


def _from_tfds(crop: int) -> Source:
    builder = tfds.open_builder(*TFDS, "http://mmlab.ie.cuhk.edu.hk", "celeba_identities")
    examples = tfds.undecoded(builder, "train+validation+test")
    facts = examples.map(lambda one: (one["identity"]["Identity_No"], one["attributes"])).as_numpy_iterator()
    person, attributes = zip(*facts, strict=True)
    names = tuple(sorted(attributes[0]))

    def pictures_of(used: np.ndarray) -> Iterator[np.ndarray]:
        files = enumerate(examples.map(lambda one: one["image"]).as_numpy_iterator())
        for number, file in itertools.compress(files, used):
            yield read_centre(io.BytesIO(file), crop, "TFDS_DATA_DIR", f"{TFDS[0]}, picture {number}")

    values = np.array([[one[name] for name in names] for one in attributes], np.uint8)
    return Source(np.array(person, np.int32), pictures_of, values, names)


def resized(
    pictures: Iterator[np.ndarray], number: int, image_size: int, method: str
) -> UInt8[np.ndarray, "number h w 3"]:
    """So many pictures of one size, brought to another one a chunk at a time."""
    images = np.empty((number, image_size, image_size, 3), np.uint8)
    for start in tqdm(range(0, number, CHUNK), desc="reading CelebA", unit=f" x {CHUNK} images", disable=None):
        chunk = np.stack([next(pictures) for _ in range(min(CHUNK, number - start))])
        images[start : start + len(chunk)] = resize(chunk, image_size, method)
    return images

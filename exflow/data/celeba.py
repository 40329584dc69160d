"""CelebA as sets of pictures of one person each, from a folder of the user (its terms forbid passing it on)."""

from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8
from tqdm import tqdm

from exflow.data.options import check_at_least, user_path
from exflow.data.pictures import read_centre
from exflow.data.registry import TEST, TRAIN, VALIDATION, LabelledImages, register
from exflow.data.resize import check as check_resize
from exflow.data.resize import resize
from exflow.errors import UserError

VARIABLE = "EXFLOW_CELEBA"
PICTURES, IDENTITIES = "img_align_celeba", "identity_CelebA.txt"
ADVICE = f"a folder with {PICTURES}/*.jpg and {IDENTITIES}; configs/bruno_cifar10.py runs without it."
FEWEST, MOST = 20, 30  # pictures of a person that is used
CHUNK = 500  # pictures resized at a time


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
    """CelebA by person, from $EXFLOW_CELEBA: those with 20 to 30 pictures, 70 / 10 / 20 % of them in sorted order.

    With the complete data set 4,444 / 635 / 1,270 persons. The label is the official number of the person. The centre
    of the aligned pictures (178x218) is brought to `image_size` by averaging areas; how the published experiments
    cropped is not known. The result (about 2 GB) is cached; after a change of the files delete it.

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
    folder = user_path("celeba_identities", VARIABLE, "folder", ADVICE)
    person_of = read_identities(folder / IDENTITIES)
    persons, counts = np.unique(np.array(list(person_of.values()), np.int32), return_counts=True)
    persons = persons[(counts >= FEWEST) & (counts <= MOST)]
    if len(persons) < 10:
        raise UserError(
            f"{folder / IDENTITIES}: expected at least 10 persons with {FEWEST} to {MOST} pictures, "
            f"got {len(persons)}. Complete the file."
        )
    split = dict(zip(persons.tolist(), split_of_identities(persons), strict=True))
    names = [name for name, person in person_of.items() if person in split]
    images = np.empty((len(names), image_size, image_size, 3), np.uint8)
    for start in tqdm(range(0, len(names), CHUNK), desc="reading CelebA", unit=f" x {CHUNK} images", disable=None):
        pictures = [read_centre(folder / PICTURES / name, crop, VARIABLE) for name in names[start : start + CHUNK]]
        images[start : start + CHUNK] = resize(np.stack(pictures), image_size, "area")
    labels = np.array([person_of[name] for name in names], np.int32)
    return LabelledImages(images, labels, np.array([split[person] for person in labels.tolist()], np.uint8))

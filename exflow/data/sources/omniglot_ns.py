"""Omniglot divided by character at random over all alphabets, as the Neural Statistician and the set VAEs do."""

import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from exflow.data.building.omniglot_splits import NUM_CHARACTERS, division
from exflow.data.building.options import check_at_least, check_choice, user_path
from exflow.data.labelled import load_labelled
from exflow.data.registry import LabelledImages, register
from exflow.data.resize import check as check_resize
from exflow.data.resize import resize
from exflow.errors import UserError

VARIABLE = "EXFLOW_CHARDATA"
ADVICE = "the file chardata.mat of GitHub yburda/iwae (datasets/OMNIGLOT); source=tfds runs without it."
SIZE = 28  # of the pictures in chardata.mat
NUM_TRAIN, NUM_VALIDATION = 1000, 200  # of omniglot_ns; test has the others
DAMAGE = OSError, ValueError, KeyError, TypeError, NotImplementedError, EOFError, zlib.error, MatReadError


def _burda(path: Path) -> tuple[UInt8[np.ndarray, "num 28 28 1"], Int32[np.ndarray, " num"]]:
    """Images of both parts of chardata.mat, upright; the label numbers the pairs of alphabet and character.

    Raises:
      UserError: If the file is damaged or of another form.
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
    return np.ascontiguousarray(pictures)[..., None], labels.astype(np.int32)


@register("omniglot_ns", cache=False, ink="dark")
def omniglot_ns(image_size: int = 28, source: str = "tfds", seed: int = 0) -> LabelledImages:
    """Omniglot with 1,000 / 200 / 423 characters divided at random, so that the splits share alphabets.

    The division of the Neural Statistician and the hierarchical set VAEs, ink bright. Which characters are held out is
    drawn here; their own list is not published. Drawings of TFDS are brought to `image_size` by averaging areas; those
    of `source="burda"`, which the published numbers are measured on, are grey pictures of 28x28 made by another
    method. Nats of the two sources are not comparable. Cached as `omniglot` with `resize="area"`.

    Args:
      image_size: Height and width.
      source: "tfds", or "burda": the file chardata.mat that the environment variable EXFLOW_CHARDATA names, where some
        characters have fewer than 20 drawings.
      seed: Of the division, at least 0.

    Raises:
      UserError: If an option is not valid, the file is missing or damaged; as for `omniglot`.

    Source: Giannone and Winther 2022, arXiv:2110.12279; chardata.mat of Burda et al. 2016, arXiv:1509.00519; drawings
    by Lake et al. 2015 (MIT licence).
    """
    check_choice("omniglot_ns", "source", source, ("tfds", "burda"))
    check_resize(image_size, "area")
    check_at_least("omniglot_ns", 0, seed=seed)
    if source == "tfds":
        data = load_labelled("omniglot", image_size=image_size, resize="area")
        images, labels = np.asarray(data.images, np.uint8), data.labels
    else:
        images, labels = _burda(user_path("omniglot_ns", VARIABLE, "file", ADVICE))
        images = resize(images, image_size, "area")
    num_classes = int(labels.max(initial=0)) + 1
    if num_classes <= NUM_TRAIN + NUM_VALIDATION:
        raise UserError(f"omniglot_ns: expected {NUM_CHARACTERS} characters, got {num_classes}. Correct {VARIABLE}.")
    return LabelledImages(images, labels, division(NUM_TRAIN, NUM_VALIDATION, num_classes, seed)[labels])

"""Omniglot as Burda et al. prepared it, on which likelihoods of grey and binarised drawings are published."""

from pathlib import Path

import numpy as np

from exflow.data.building.chardata import FILE, SIZE, VARIABLE, Chardata, read_chardata
from exflow.data.building.options import check_choice, user_path
from exflow.data.labelled import load_labelled
from exflow.data.registry import TEST, TRAIN, VALIDATION, LabelledImages, register
from exflow.errors import UserError

ADVICE = (
    f"{FILE}; the same split of other pictures, data.options='source=tfds', and data.dataset=omniglot with "
    "data.resize=area, labelled and split by character, run without it."
)
NUM_VALIDATION, SEED = 1345, 123  # held out of the first part, by a permutation of NumPy's older generator
PER_CHARACTER, TEST_PER_CHARACTER = 20, 5  # drawings


def _stand_in() -> Chardata:
    """The drawings of TFDS by averages of areas; of every character five drawn at random are test."""
    data = load_labelled("omniglot", image_size=SIZE, resize="area")
    rng, count = np.random.default_rng(SEED), int(data.labels.max()) + 1
    order = rng.permuted(np.tile(np.arange(PER_CHARACTER), (count, 1)), axis=1)  # images are ordered by label
    return Chardata(np.asarray(data.images, np.uint8), data.labels, order.ravel() < TEST_PER_CHARACTER)


@register("omniglot_burda", cache=False, ink="dark")
def omniglot_burda(path: str = "", source: str = "burda") -> LabelledImages:
    """Omniglot of Burda et al.: 23,000 / 1,345 / 8,070 grey drawings of 28x28, split by drawing, ink bright.

    The part `testdata` of the file is test; of the part `data` those 1,345 are validation that the experiments of the
    authors hold out (a permutation of seed 123). Test drawings are of the characters of training. The label
    numbers the pairs of alphabet and character. Grey values are rounded to 8 bits, which moves the probability of
    a binarised pixel by 1 / 510 at most.

    Args:
      path: Of chardata.mat; empty: that of the environment variable EXFLOW_CHARDATA.
      source: "burda", or "tfds", a stand-in without that file: the drawings of `omniglot` by averages of areas, 15 of
        every character for train and validation and 5 for test (23,000 / 1,345 / 8,115). Nats of the two sources are
        not comparable.

    Raises:
      UserError: An option is not valid; the file is missing, damaged or too small; as for `omniglot`.

    Source: Burda et al. 2016, "Importance weighted autoencoders", arXiv:1509.00519; drawings by Lake et al. 2015 (MIT
    licence).
    """
    check_choice("omniglot_burda", "source", source, ("burda", "tfds"))
    file = Path(path).expanduser()
    if source == "tfds":
        return _divided(_stand_in())
    if path and not file.is_file():
        raise UserError(f"omniglot_burda: there is no file {file}. Set path to {ADVICE}")
    return _divided(read_chardata(file if path else user_path("omniglot_burda", VARIABLE, "file", ADVICE)))


def _divided(data: Chardata) -> LabelledImages:
    num_train = int((~data.is_test).sum())
    if num_train <= NUM_VALIDATION or num_train == len(data.labels):
        raise UserError(
            f"omniglot_burda: expected more than {NUM_VALIDATION} drawings in data and some in testdata, got "
            f"{num_train} and {len(data.labels) - num_train}. Use the complete file."
        )
    split = np.where(data.is_test, TEST, TRAIN).astype(np.uint8)
    held_out = np.random.RandomState(SEED).permutation(num_train)[-NUM_VALIDATION:]
    split[np.flatnonzero(~data.is_test)[held_out]] = VALIDATION
    return LabelledImages(data.images, data.labels, split)

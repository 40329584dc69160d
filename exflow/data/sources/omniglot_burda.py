"""Omniglot as Burda et al. prepared it, on which likelihoods of grey and binarised drawings are published."""

from pathlib import Path

import numpy as np

from exflow.data.building.chardata import FILE, VARIABLE, read_chardata
from exflow.data.building.options import user_path
from exflow.data.registry import TEST, TRAIN, VALIDATION, LabelledImages, register
from exflow.errors import UserError

ADVICE = f"{FILE}; data.dataset=omniglot with data.resize=area, other pictures and labelled, runs without it."
NUM_VALIDATION, SEED = 1345, 123  # held out of the first part, by a permutation of NumPy's older generator


@register("omniglot_burda", cache=False, ink="dark")
def omniglot_burda(path: str = "") -> LabelledImages:
    """Omniglot of Burda et al.: 23,000 / 1,345 / 8,070 grey drawings of 28x28, split by drawing, ink bright.

    The part `testdata` of the file is test; of the part `data` those 1,345 are validation that the experiments of the
    authors hold out (a permutation of seed 123). Test drawings are of the characters of training. The label
    numbers the pairs of alphabet and character. Grey values are rounded to 8 bits, which moves the probability of
    a binarised pixel by 1 / 510 at most.

    Args:
      path: Of chardata.mat; empty: that of the environment variable EXFLOW_CHARDATA.

    Raises:
      UserError: The file is missing or damaged, or too small.

    Source: Burda et al. 2016, "Importance weighted autoencoders", arXiv:1509.00519; drawings by Lake et al. 2015 (MIT
    licence).
    """
    file = Path(path).expanduser()
    if path and not file.is_file():
        raise UserError(f"omniglot_burda: there is no file {file}. Set path to {ADVICE}")
    data = read_chardata(file if path else user_path("omniglot_burda", VARIABLE, "file", ADVICE))
    num_train = int((~data.is_test).sum())
    if num_train <= NUM_VALIDATION or num_train == len(data.labels):
        raise UserError(
            f"omniglot_burda: expected more than {NUM_VALIDATION} drawings in data and some in testdata, got "
            f"{num_train} and {len(data.labels) - num_train}. Use the complete file."
        )
    split = np.where(data.is_test, TEST, TRAIN).astype(np.uint8)
    split[np.random.RandomState(SEED).permutation(num_train)[-NUM_VALIDATION:]] = VALIDATION
    return LabelledImages(data.images, data.labels, split)

"""Divisions of the characters of Omniglot: at random or in order, and as listed by Vinyals et al. 2016.

The split of "Matching networks for one shot learning" (arXiv:1606.04080), as listed for the experiments of Snell et al.
2017 in GitHub `jakesnell/prototypical-networks` (MIT) and, equally, in `renmengye/few-shot-ssl-public`: 1,028 training,
172 validation and 423 test characters of the 1,623. The table is run-length encoded over the label of the TFDS data set
`omniglot` (0..1622, the number in the official file names minus one). The alphabet Gurmukhi is in both train (41
characters) and test (4), in the original lists too.
"""

import numpy as np
from jaxtyping import UInt8

from exflow.data.registry import TEST, TRAIN, VALIDATION

NUM_CHARACTERS = 1623
_RUNS = (
    (TRAIN, 26), (VALIDATION, 41), (TRAIN, 64), (VALIDATION, 46), (TRAIN, 73), (VALIDATION, 22),
    (TRAIN, 193), (VALIDATION, 22), (TRAIN, 241), (VALIDATION, 41), (TRAIN, 431), (TEST, 423),
)  # fmt: skip


def split_of_label() -> UInt8[np.ndarray, " 1623"]:
    """Split (0 train, 1 validation, 2 test) of every TFDS label."""
    splits, lengths = zip(*_RUNS, strict=True)
    return np.repeat(np.array(splits, np.uint8), lengths)


def division(num_train: int, num_validation: int, num_classes: int, seed: int | None) -> UInt8[np.ndarray, " classes"]:
    """Split of every class: in order, or, with a seed, in the order of a random permutation."""
    order = np.arange(num_classes) if seed is None else np.random.default_rng(seed).permutation(num_classes)
    split = np.full(num_classes, TEST, np.uint8)
    split[order[:num_train]] = TRAIN
    split[order[num_train : num_train + num_validation]] = VALIDATION
    return split

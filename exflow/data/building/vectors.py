"""Data sets of sets of vectors: every class is one set, its elements are the vectors of the set."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from exflow.data.registry import SPLITS, LabelledImages

Sets = Float32[np.ndarray, "_ set_size dim"]  # the splits differ in size
Facts = Float32[np.ndarray, "_ facts"]


def label_vectors(parts: Sequence[tuple[Sets, Facts]]) -> LabelledImages:
    """Sets of train, validation and test as one class each, in this order.

    Args:
      parts: For each split its sets, and what is known of each set, which becomes the context of its elements: a label
        for probes and figures, that models of sets do not see.

    Returns:
      Vectors as float32 "images" [num, 1, 1, dim]; the label of a set is its number.
    """
    sizes = [len(sets) for sets, _ in parts]
    vectors = np.concatenate([sets for sets, _ in parts])
    facts = np.concatenate([known for _, known in parts])
    num_sets, set_size, dim = vectors.shape
    return LabelledImages(
        images=vectors.reshape(-1, 1, 1, dim),
        labels=np.repeat(np.arange(num_sets, dtype=np.int32), set_size),
        split=np.repeat(np.arange(len(SPLITS), dtype=np.uint8), np.array(sizes) * set_size),
        context=np.repeat(facts, set_size, axis=0),
    )

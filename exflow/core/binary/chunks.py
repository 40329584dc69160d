"""Codes some rows at a time, so that what is computed of them stays small."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float64

from exflow.core.binary.model import Codes

ROWS = 1 << 13


def chunks(codes: Codes) -> Iterator[Codes]:
    """Some rows at a time."""
    return (codes[start : start + ROWS] for start in range(0, len(codes), ROWS))


def of_chunks(log_prob: Callable[[Codes], Float64[np.ndarray, " rows"]], codes: Codes) -> Float64[np.ndarray, " num"]:
    """A number of every code, computed some rows at a time."""
    return np.concatenate([np.zeros(0), *(log_prob(rows) for rows in chunks(codes))])

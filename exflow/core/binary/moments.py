"""First and second moments of binary codes, gathered from batches in any split.

Bits are counted as integers, which float64 adds exactly: any split into batches, in any order, gives the same moments.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from exflow.core.binary.codes import PackedBits, as_bits
from exflow.errors import UserError

ROWS = 1 << 16  # codes of one product in float32, which adds integers up to 2^24 exactly


class BinaryMoments(NamedTuple):
    """Moments of x in {-1, +1}."""

    mean: Float64[np.ndarray, " bits"]  # E[x], in [-1, 1]
    second: Float64[np.ndarray, "bits bits"]  # E[x x^T], not centred; its diagonal is 1


class BitCounts(NamedTuple):
    """Codes seen so far; whole numbers as float64, exact up to 2^53 codes."""

    num: int
    ones: Float64[np.ndarray, " bits"]  # codes whose bit is set
    both: Float64[np.ndarray, "bits bits"]  # codes whose two bits are set


def no_counts(num_bits: int) -> BitCounts:
    """Before the first code."""
    return BitCounts(0, np.zeros(num_bits), np.zeros((num_bits, num_bits)))


def count(counts: BitCounts, codes: Shaped[np.ndarray, "num bits"] | PackedBits) -> BitCounts:
    """After more codes, of any form that `as_bits` takes."""
    if isinstance(codes, PackedBits):
        pieces = (codes._replace(packed=part) for part in _pieces(codes.packed))
    else:
        pieces = iter(_pieces(codes))
    for piece in pieces:
        bits = as_bits(piece).astype(np.float32)
        ones = counts.ones + bits.sum(axis=0, dtype=np.float64)
        counts = BitCounts(counts.num + len(bits), ones, counts.both + bits.T @ bits)
    return counts


def merge_counts(first: BitCounts, second: BitCounts) -> BitCounts:
    """Of the codes of both."""
    return BitCounts(first.num + second.num, first.ones + second.ones, first.both + second.both)


def moments_of_counts(counts: BitCounts) -> BinaryMoments:
    """Moments of the codes that were counted.

    Raises:
      UserError: None were.
    """
    if counts.num == 0:
        raise UserError("codes: expected at least one, got none. Choose data that have some.")
    mean = (2.0 * counts.ones - counts.num) / counts.num
    ones = counts.ones[:, np.newaxis] + counts.ones
    return BinaryMoments(mean, (4.0 * counts.both - 2.0 * ones + counts.num) / counts.num)


def moments_of(codes: Bool[np.ndarray, "num bits"]) -> BinaryMoments:
    """Moments of codes."""
    return moments_of_counts(count(no_counts(codes.shape[-1]), codes))


def _pieces(codes: np.ndarray) -> Iterable[np.ndarray]:
    return (codes[start : start + ROWS] for start in range(0, len(codes), ROWS))

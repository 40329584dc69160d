"""Forms of binary codes: booleans, signs in {-1, +1}, numbers in {0, 1}, and eight bits packed into a byte."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from exflow.errors import UserError


class PackedBits(NamedTuple):
    """Codes of which a bit takes a bit; the last byte is filled with zeros."""

    packed: UInt8[np.ndarray, "*lead bytes"]
    num_bits: int  # of a code


def pack(codes: Bool[np.ndarray, "*lead bits"]) -> PackedBits:
    """Eight bits to a byte along the last axis, the first in the highest place."""
    return PackedBits(np.packbits(codes, axis=-1), codes.shape[-1])


def unpack(packed: PackedBits) -> Bool[np.ndarray, "*lead bits"]:
    """Inverse of `pack`."""
    return np.unpackbits(packed.packed, axis=-1, count=packed.num_bits).view(bool)


def as_bits(codes: Shaped[np.ndarray, "*lead bits"] | PackedBits) -> Bool[np.ndarray, "*lead bits"]:
    """Booleans from codes in any form: booleans, {-1, +1}, {0, 1} or packed.

    Raises:
      UserError: There are other values.
    """
    if isinstance(codes, PackedBits):
        return unpack(codes)
    if codes.dtype == np.bool_:
        return codes
    bits = codes > 0
    low = codes[~bits]
    if not ((codes[bits] == 1).all() and ((low == 0).all() or (low == -1).all())):
        raise UserError("codes: expected booleans, {0, 1} or {-1, +1}, got other values. Take `values > 0`.")
    return bits


def as_signs(codes: Bool[np.ndarray, "*lead bits"]) -> Float[np.ndarray, "*lead bits"]:
    """-1.0 and +1.0."""
    return np.where(codes, 1.0, -1.0)

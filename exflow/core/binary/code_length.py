"""How many bits codes need: raw, as independent bits, and by a model of them."""

import math

import numpy as np
from jaxtyping import Float64
from scipy.special import entr

from exflow.core.binary.model import Codes
from exflow.core.binary.moments import moments_of

Bits = Float64[np.ndarray, " bits"]


def bit_entropies(mean: Bits) -> Bits:
    """Entropies of bits with means in [-1, 1], each by itself; nats."""
    return entr((1.0 + mean) / 2.0) + entr((1.0 - mean) / 2.0)


def bitwise_length(codes: Codes) -> float:
    """Sum of the entropies of the bits of these very codes, bits per code: an upper bound of the entropy of codes."""
    return float(bit_entropies(moments_of(codes).mean).sum()) / math.log(2.0)


def lengths(log_probs: Float64[np.ndarray, " num"]) -> Float64[np.ndarray, " num"]:
    """Bits that a coder with a model needs for codes of these log probabilities under it, in nats.

    Their mean is the cross-entropy, on codes that the model was not fitted to also an upper bound of the entropy.
    """
    return -log_probs / math.log(2.0)

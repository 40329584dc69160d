"""How many bits codes need: raw, as independent bits, and by a model of them."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.special import entr

from exflow.core.binary.model import BinaryModel, Codes, FittedBits
from exflow.core.binary.moments import moments_of
from exflow.errors import UserError

Bits = Float64[np.ndarray, " bits"]


class CodeLength(NamedTuple):
    """Bits per code."""

    raw: int  # of a code, incompressible
    independent: float  # sum of the entropies of the bits, an upper bound of the entropy; of these very codes
    model: float  # cross-entropy under the model, which a coder with it reaches; also an upper bound, on new codes
    standard_error: float  # of `model`


def bit_entropies(mean: Bits) -> Bits:
    """Entropies of bits with means in [-1, 1], each by itself; nats."""
    return entr((1.0 + mean) / 2.0) + entr((1.0 - mean) / 2.0)


def code_length(model: BinaryModel, fitted: FittedBits, codes: Codes) -> CodeLength:
    """Lengths of codes that the model was not fitted to.

    Args:
      model: A model with log probabilities.
      fitted: To other codes of the same kind.
      codes: At least two.

    Raises:
      UserError: The model has no log probabilities.
    """
    if model.log_prob is None:
        raise UserError(f"{model.kind}: has no log probabilities. Choose independent, mixture or autoregressive.")
    lengths = -model.log_prob(fitted, codes) / math.log(2.0)
    independent = bit_entropies(moments_of(codes).mean).sum() / math.log(2.0)
    error = lengths.std(ddof=1) / math.sqrt(len(lengths))
    return CodeLength(codes.shape[1], float(independent), float(lengths.mean()), float(error))

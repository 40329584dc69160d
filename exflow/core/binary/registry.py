"""Kinds of models of binary vectors by name."""

from exflow.core.binary.independent import independent_bits
from exflow.core.binary.model import BinaryModel
from exflow.errors import UserError

KINDS = ("independent",)  # "flip", "threshold", "mixture" and "autoregressive" follow
REPAIRS = ("higham88", "nearest_correlation", "shrinkage")


def binary_model(
    kind: str, *, repair: str = "nearest_correlation", num_components: int = 20, prior_precision: float = 1.0
) -> BinaryModel:
    """A model of binary vectors.

    Args:
      kind: One of `KINDS`: "flip" and "threshold" are signs of a Gaussian with the moments of the data, by the original
        construction and with exact means; "mixture" is one of product Bernoullis; "autoregressive" has a logistic
        regression per bit.
      repair: Of a matrix with negative eigenvalues, for "flip" and "threshold": one of `REPAIRS`.
      num_components: Of "mixture".
      prior_precision: Of the Gaussian prior of the weights of "autoregressive".

    Raises:
      UserError: There is no such kind or repair.
    """
    if kind not in KINDS:
        raise UserError(f"kind: expected one of {', '.join(KINDS)}, got {kind}.")
    if repair not in REPAIRS:
        raise UserError(f"repair: expected one of {', '.join(REPAIRS)}, got {repair}.")
    del num_components, prior_precision
    return independent_bits()

"""Kinds of models of binary vectors by name."""

from exflow.core.binary.autoregressive import autoregressive_bits
from exflow.core.binary.gaussian_signs import REPAIRS, gaussian_signs
from exflow.core.binary.independent import independent_bits
from exflow.core.binary.mixture import bernoulli_mixture
from exflow.core.binary.model import BinaryModel
from exflow.errors import UserError

KINDS = ("flip", "threshold", "independent", "mixture", "autoregressive")


def binary_model(
    kind: str, *, repair: str = "nearest_correlation", num_components: int = 20, prior_precision: float = 1.0
) -> BinaryModel:
    """A model of binary vectors.

    Args:
      kind: One of `KINDS`: "flip" and "threshold" are signs of a Gaussian with the moments of the data, by the original
        construction and with exact means; "mixture" is one of product Bernoullis; "autoregressive" has a logistic
        regression per bit.
      repair: Of a matrix with negative eigenvalues, for "flip" and "threshold": a name of `REPAIRS`.
      num_components: Of "mixture".
      prior_precision: Of the Gaussian prior of the weights of "autoregressive".

    Raises:
      UserError: There is no such kind or repair.
    """
    if repair not in REPAIRS:
        raise UserError(f"repair: expected one of {', '.join(REPAIRS)}, got {repair}.")
    if kind in ("flip", "threshold"):
        return gaussian_signs(kind, repair)
    if kind == "independent":
        return independent_bits()
    if kind == "mixture":
        return bernoulli_mixture(num_components)
    if kind == "autoregressive":
        return autoregressive_bits(prior_precision)
    raise UserError(f"kind: expected one of {', '.join(KINDS)}, got {kind}.")

"""Directions of an attribute in codes: which bits to set for it, and which way.

"conditional" is the original's: bits whose mean among codes with the attribute is beyond a threshold. "contrast" takes
bits whose means with and without the attribute differ significantly, so that it does not push towards the average.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from scipy.special import log_ndtr

from exflow.core.binary.model import Codes
from exflow.core.binary.moments import moments_of
from exflow.errors import UserError

THRESHOLD = 0.12  # of a conditional mean, the original's
Labels = Bool[np.ndarray, " num"]


class Direction(NamedTuple):
    """Bits to set towards the sign of their effect."""

    effect: Float64[np.ndarray, " bits"]
    chosen: Bool[np.ndarray, " bits"]


def conditional_direction(codes: Codes, labels: Labels, threshold: float = THRESHOLD) -> Direction:
    """Effects E[x | attribute], chosen where they are beyond the threshold.

    Args:
      codes: Of training.
      labels: Whether a code has the attribute; some must.
      threshold: In [0, 1).
    """
    effect = moments_of_group(codes, labels, "with")
    return Direction(effect, np.abs(effect) > threshold)


def contrast_direction(codes: Codes, labels: Labels, level: float = 0.05, num_bits: int | None = None) -> Direction:
    """Effects E[x | attribute] - E[x | none], chosen where significant.

    Of every bit by a two-sided z-test of two proportions with pooled variance, at `level` over the number of bits
    (Bonferroni): the probability that any bit without effect is chosen is at most `level`.

    Args:
      codes: Of training.
      labels: Whether a code has the attribute; some must, some must not.
      level: In (0, 1).
      num_bits: At most so many, of the largest effects. None: all that are significant.
    """
    effect = moments_of_group(codes, labels, "with") - moments_of_group(codes, ~labels, "without")
    share = codes.mean(axis=0)
    num_with = labels.sum()
    variance = 4.0 * share * (1.0 - share) * (1.0 / num_with + 1.0 / (len(labels) - num_with))
    z = np.abs(effect) / np.sqrt(np.where(variance > 0, variance, 1.0))
    significant = np.log(2.0) + log_ndtr(-z) < np.log(level / len(effect))
    return strongest(Direction(effect, significant), num_bits)


def strongest(direction: Direction, num_bits: int | None) -> Direction:
    """With at most so many of the chosen bits, of the largest effects; the first of equal ones."""
    if num_bits is None:
        return direction
    order = np.argsort(-np.abs(direction.effect) * direction.chosen, kind="stable")
    kept = np.zeros(len(order), bool)
    kept[order[:num_bits]] = True
    return direction._replace(chosen=direction.chosen & kept)


def apply_direction(codes: Codes, direction: Direction, strength: float = 1.0) -> Codes:
    """Codes with the attribute set, or removed.

    Args:
      codes: Any.
      direction: Of the attribute.
      strength: Share of the chosen bits, of the largest effects, that are set; below 0, they are set the other way.

    Raises:
      UserError: The strength is not in [-1, 1].
    """
    if not -1.0 <= strength <= 1.0:
        raise UserError(f"strength: expected a number in [-1, 1], got {strength}.")
    kept = strongest(direction, round(abs(strength) * direction.chosen.sum()))
    return np.where(kept.chosen, (kept.effect > 0) == (strength > 0), codes)


def moments_of_group(codes: Codes, members: Labels, which: str) -> Float64[np.ndarray, " bits"]:
    """Means of the codes of a group.

    Raises:
      UserError: It is empty.
    """
    if not members.any():
        raise UserError(f"labels: expected codes {which} the attribute, got none. Choose an attribute that varies.")
    return moments_of(codes[members]).mean


DIRECTIONS: dict[str, Callable[[Codes, Labels], Direction]] = {
    "contrast": contrast_direction,
    "mean": conditional_direction,
}

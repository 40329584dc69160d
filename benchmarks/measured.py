"""A number that was measured in several rounds: their median, which knows the smallest and the largest of them."""

import statistics
from collections.abc import Sequence
from typing import Any

Spread = tuple[float, float]


class Measured(float):
    """A positive number with its range over the rounds; an ordinary float wherever that does not matter.

    Sums, products and quotients with other positive numbers, measured or not, have the range that those of any of the
    rounds could have, which is at least as wide as that of values within each round.
    """

    smallest: float
    largest: float

    def __new__(cls, median: float, smallest: float, largest: float) -> "Measured":
        """A median with its range."""
        value = super().__new__(cls, median)
        value.smallest, value.largest = float(smallest), float(largest)
        return value

    def __getnewargs__(self) -> tuple[float, float, float]:
        return float(self), self.smallest, self.largest

    def __add__(self, other: float) -> "Measured":
        low, high = _range(other)
        return Measured(float(self) + float(other), self.smallest + low, self.largest + high)

    def __mul__(self, other: float) -> "Measured":
        low, high = _range(other)
        return Measured(float(self) * float(other), self.smallest * low, self.largest * high)

    def __truediv__(self, other: float) -> "Measured":
        low, high = _range(other)
        return Measured(float(self) / float(other), self.smallest / high, self.largest / low)

    def __rtruediv__(self, other: float) -> "Measured":
        low, high = _range(other)
        return Measured(float(other) / float(self), low / self.largest, high / self.smallest)

    __radd__ = __add__
    __rmul__ = __mul__


def over_rounds(samples: Sequence[float]) -> float:
    """Median of one sample per round, with its range where there are several."""
    median = statistics.median(samples)
    return Measured(median, min(samples), max(samples)) if len(samples) > 1 else median


def spread_of(value: Any) -> Spread | None:
    """Smallest and largest over the rounds; None where they are unknown."""
    return (value.smallest, value.largest) if isinstance(value, Measured) else None


def _range(value: float) -> Spread:
    """What a number lies between: one that was not measured is exact."""
    return spread_of(value) or (float(value), float(value))

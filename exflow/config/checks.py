"""What checks of a configuration share: one form of error, and intervals of numbers by name."""

import math
from collections.abc import Callable
from typing import NamedTuple

from exflow.errors import UserError


class Interval(NamedTuple):
    """Numbers that a key may have, in words and as a test. Without one, a number is finite and at least 0."""

    words: str
    holds: Callable[[float], bool]


AT_LEAST_ONE = Interval("at least 1", lambda value: value >= 1)
POSITIVE = Interval("a positive number", lambda value: value > 0)
BELOW_ONE = Interval("a number in [0, 1)", lambda value: 0 <= value < 1)
PROBABILITY = Interval("a probability", lambda value: 0 <= value <= 1)
AT_LEAST_TWO = Interval("at least 2", lambda value: value >= 2)
SIGNED_FRACTION = Interval("a number in [-1, 1]", lambda value: -1 <= value <= 1)
NOT_NEGATIVE = Interval("at least 0", lambda value: value >= 0)


def expected(key: str, what: str, value: object, advice: str = "") -> UserError:
    """The error that a key is not what it should be, with what to do about it."""
    return UserError(f"config.{key}: expected {what}, got {value!r}." + (f" {advice}" if advice else ""))


def check_interval(key: str, value: int | float, interval: Interval = NOT_NEGATIVE) -> None:
    """Refuse a number outside its interval, and one that is not finite.

    Raises:
      UserError: Names the key and what it expects.
    """
    if not math.isfinite(value):
        raise expected(key, "a finite number", value)
    if not interval.holds(value):
        raise expected(key, interval.words, value)


def is_number(value: object) -> bool:
    """Whether a value is an int or a float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)

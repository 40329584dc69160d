"""A few of many, evenly spread: which classes, objects or levels a picture shows."""

import numpy as np
from jaxtyping import Shaped


def evenly_spread(values: Shaped[np.ndarray, "values *rest"], number: int) -> Shaped[np.ndarray, "chosen *rest"]:
    """At most `number` of the values in their order, the first and, of two or more, the last among them."""
    return values[np.linspace(0, len(values) - 1, min(number, len(values))).astype(int)]

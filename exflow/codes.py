"""Codes of images, bits or real numbers, and distributions that are fitted to them after training."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float

from exflow.typing import Images, Params, PRNGKey


class CodeFunctions(NamedTuple):
    """Codes of images: bits, or real numbers."""

    length: int
    encode: Callable[[Params, Images], Bool[Array, "*lead length"] | Float[Array, "*lead length"]]
    decode: Callable[[Params, Bool[Array, "*lead length"] | Float[Array, "*lead length"]], Images]
    binary: bool = True
    # What training makes small of an image that was encoded and decoded, and its unit; None: nothing of that kind
    distortion: Callable[[Params, Images], Float[Array, "*lead"]] | None = None
    distortion_unit: str = ""


Fitted = dict[str, np.ndarray]  # what a sampler was fitted to, by name
FittedBy = Callable[[str], Fitted]  # the same of a method of the sampler; fitted when it is first asked for


class Sampler(NamedTuple):
    """Distributions of codes, fitted after training to the codes of the training images; computed on the host."""

    methods: tuple[str, ...]  # the first is the default
    fit: Callable[[np.ndarray, str], Fitted]  # (codes [num, length], method)
    draw: Callable[[Fitted, PRNGKey, int, str], np.ndarray]  # (fitted, key, number, method) -> codes [number, length]

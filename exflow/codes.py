"""Codes of images, bits or real numbers, and distributions that are fitted to them after training."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from exflow.errors import UserError
from exflow.typing import Images, Params, PRNGKey

Codes = Bool[np.ndarray, "... length"] | Float[np.ndarray, "... length"]


class CodeFunctions(NamedTuple):
    """Codes of images."""

    length: int
    encode: Callable[[Params, Images], Bool[Array, "*lead length"] | Float[Array, "*lead length"]]
    decode: Callable[[Params, Bool[Array, "*lead length"] | Float[Array, "*lead length"]], Images]
    binary: bool = True
    # What training makes small of an image that was encoded and decoded, and its unit; None: nothing of that kind
    distortion: Callable[[Params, Images], Float[Array, "*lead"]] | None = None
    distortion_unit: str = ""


Fitted = dict[str, np.ndarray]  # what a sampler was fitted to, by name


class TrainingCodes(NamedTuple):
    """Codes of all training images, with what is known of each."""

    codes: Codes  # [num, length]
    labels: Int[np.ndarray, " num"]  # class of the data set
    attributes: Shaped[np.ndarray, "num attributes"]  # facts in the order of their names, perhaps none
    attribute_names: tuple[str, ...] = ()

    def members(self, attribute: str) -> Bool[np.ndarray, " num"]:
        """Which images have an attribute of that name, or are of the class of that label.

        Raises:
          UserError: There is neither; names those there are.
        """
        if attribute in self.attribute_names:
            return self.attributes[:, self.attribute_names.index(attribute)] > 0
        classes = [str(label) for label in np.unique(self.labels)]
        if attribute not in classes:
            known = [*self.attribute_names, *classes]
            listing = ", ".join(known[:50]) + (", ..." if len(known) > 50 else "")
            raise UserError(f"attribute: expected one of {listing}, got {attribute!r}. Choose one of them.")
        return self.labels == int(attribute)


class FittedCodes(NamedTuple):
    """What was fitted to the training codes by each method, and these codes; either is found when first asked for."""

    by: Callable[[str], Fitted]  # name of a method, "" for the first
    training: Callable[[], TrainingCodes]


class Sampler(NamedTuple):
    """Distributions of codes, fitted after training to the codes of the training images; computed on the host."""

    methods: tuple[str, ...]  # the first is the default
    fit: Callable[[np.ndarray, str], Fitted]  # (codes [num, length], method)
    draw: Callable[[Fitted, PRNGKey, int, str], np.ndarray]  # (fitted, key, number, method) -> codes [number, length]
    # (fitted, begin [num, length], end, number of steps, seed, form) -> codes [steps, num, length]
    interpolate: Callable[[FittedCodes, np.ndarray, np.ndarray, int, int, str], np.ndarray] | None = None
    # (fitted, codes [num, length], known [length], seed, method) -> the codes, what is not known drawn given the rest
    complete: Callable[[Fitted, np.ndarray, np.ndarray, int, str], np.ndarray] | None = None
    densities: tuple[str, ...] = ()  # methods with ...
    log_prob: Callable[[Fitted, np.ndarray, str], np.ndarray] | None = (
        None  # (fitted, codes [num, length], method): nats
    )

"""What a model of binary vectors is: a fit, and pure functions of what was fitted.

A code is a vector of bits, as booleans: True is +1, False is -1 (`codes.as_bits` takes other forms). What is fitted is
a flat NamedTuple of float64 arrays: names are those of the kind alone, shapes follow from the number of bits and the
options of the kind, so that it is a pytree, and with `to_arrays` and `from_arrays` a flat dictionary.

Fits, densities and completions run once, on the host, in float64: NumPy and SciPy have the special functions and
factorisations that they need, without a flag of the whole program. Draws are JAX: they take a key as all draws of
exflow do, may be part of a compiled program with a decoder after them, and need no more than float32.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Bool, Float64

from exflow.core.binary.moments import BinaryMoments
from exflow.errors import UserError
from exflow.typing import PRNGKey

Codes = Bool[np.ndarray, "num bits"]
FittedBits = Any  # a NamedTuple of arrays


@runtime_checkable
class FitBits(Protocol):
    """Fit to codes, float64; equal codes and seeds give equal results."""

    def __call__(self, codes: Codes, seed: int = 0, /) -> FittedBits: ...


@runtime_checkable
class FitMoments(Protocol):
    """Fit to moments alone, float64."""

    def __call__(self, moments: BinaryMoments, /) -> FittedBits: ...


@runtime_checkable
class SampleBits(Protocol):
    """Independent draws [num, bits]; may be traced."""

    def __call__(self, fitted: FittedBits, key: PRNGKey, num: int, /) -> Bool[Array, "num bits"]: ...


@runtime_checkable
class LogProbOfBits(Protocol):
    """Exact log probabilities of codes, nats."""

    def __call__(self, fitted: FittedBits, codes: Codes, /) -> Float64[np.ndarray, " num"]: ...


@runtime_checkable
class CompleteBits(Protocol):
    """The codes with the bits that are not `known` drawn anew given those that are."""

    def __call__(
        self, fitted: FittedBits, codes: Codes, known: Bool[np.ndarray, " bits"], seed: int, num_sweeps: int = 60, /
    ) -> Codes: ...


@runtime_checkable
class MomentsOfFitted(Protocol):
    """Moments of the draws, without drawing any."""

    def __call__(self, fitted: FittedBits, /) -> BinaryMoments: ...


class BinaryModel(NamedTuple):
    """A kind of model of binary vectors with its options; `binary.registry.binary_model` builds one by name."""

    kind: str
    fitted_type: Callable[..., FittedBits]  # the NamedTuple
    shapes: Callable[[int], dict[str, tuple[int, ...]]]  # number of bits -> shapes of its arrays
    fit: FitBits
    sample: SampleBits
    complete: CompleteBits
    fit_moments: FitMoments | None = None  # None: moments are not enough
    log_prob: LogProbOfBits | None = None  # None: it has no closed form
    expected_moments: MomentsOfFitted | None = None  # None: they have no closed form


def to_arrays(fitted: FittedBits) -> dict[str, np.ndarray]:
    """What was fitted as a flat dictionary of arrays."""
    return {name: np.asarray(array) for name, array in fitted._asdict().items()}


def from_arrays(model: BinaryModel, arrays: dict[str, np.ndarray]) -> FittedBits:
    """What `to_arrays` made.

    Raises:
      UserError: Names or numbers of axes are not those of the kind.
    """
    expected = {name: len(shape) for name, shape in model.shapes(1).items()}
    found = {name: np.ndim(array) for name, array in arrays.items()}
    if found != expected:
        raise UserError(f"arrays: expected those of {model.kind}, {expected} (axes), got {found}. Name the right kind.")
    return model.fitted_type(**arrays)

"""Independent bits: p(x) = prod_i p_i^x_i (1 - p_i)^(1 - x_i)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64
from scipy.special import xlog1py, xlogy

from exflow.core.binary.model import BinaryModel, Codes
from exflow.core.binary.moments import BinaryMoments
from exflow.typing import PRNGKey


class IndependentBits(NamedTuple):
    """Probabilities of the bits."""

    probability: Float[np.ndarray, " bits"]


def fit_moments(moments: BinaryMoments) -> IndependentBits:
    """The means as they are."""
    return IndependentBits((1.0 + moments.mean) / 2.0)


def fit(codes: Codes, seed: int = 0) -> IndependentBits:
    """Frequencies with half a success and half a failure added, so that nothing has probability 0."""
    del seed
    return IndependentBits((codes.sum(axis=0) + 0.5) / (len(codes) + 1.0))


def sample(fitted: IndependentBits, key: PRNGKey, num: int) -> Bool[Array, "num bits"]:
    """Independent draws."""
    probability = jnp.asarray(fitted.probability)
    return jax.random.bernoulli(key, probability[jnp.newaxis], (num, len(probability)))


def log_prob(fitted: IndependentBits, codes: Codes) -> Float64[np.ndarray, " num"]:
    """Log p(x), nats; -inf of what never happens."""
    p = np.asarray(fitted.probability, np.float64)
    return (xlogy(codes, p) + xlog1py(~codes, -p)).sum(axis=-1)


def complete(
    fitted: IndependentBits, codes: Codes, known: Bool[np.ndarray, " bits"], seed: int, num_sweeps: int = 60
) -> Codes:
    """Other bits tell nothing of a bit."""
    del num_sweeps
    drawn = np.random.default_rng(seed).random(codes.shape) < fitted.probability
    return np.where(known, codes, drawn)


def expected_moments(fitted: IndependentBits) -> BinaryMoments:
    """Products of the means."""
    mean = 2.0 * np.asarray(fitted.probability, np.float64) - 1.0
    second = np.outer(mean, mean)
    np.fill_diagonal(second, 1.0)
    return BinaryMoments(mean, second)


def independent_bits() -> BinaryModel:
    """The model as functions."""
    shapes = lambda num_bits: {"probability": (num_bits,)}  # noqa: E731
    return BinaryModel(
        "independent", IndependentBits, shapes, fit, sample, complete, fit_moments, log_prob, expected_moments
    )

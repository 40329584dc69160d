"""The Bernoulli moment model: signs of a Gaussian vector that have the means and pair moments of the data.

    x = sign(L e + t), e ~ N(0, I)

"flip" has zero thresholds t, and one more sign with which all others are multiplied (`arcsine_law`): it is the
original construction. "threshold" has the thresholds that give exact means, and tetrachoric correlations. Both are
exact where the matrix of correlations is positive semidefinite. Usually it is not, and a repair moves the moments: with
"flip" mostly the means, with "threshold" only those of pairs.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64
from scipy.special import ndtr

from exflow.core.binary import arcsine_law, orthant, tetrachoric
from exflow.core.binary.model import BinaryModel, Codes
from exflow.core.binary.moments import BinaryMoments, moments_of
from exflow.core.binary.positive_definite import (
    Matrix,
    nearest_correlation,
    nearest_psd,
    safe_cholesky,
    shrinkage,
    unit_diagonal,
)
from exflow.typing import PRNGKey

REPAIRS: dict[str, Callable[[Matrix], Matrix]] = {
    "higham88": nearest_psd,  # the original's; the diagonal exceeds 1 afterwards
    "nearest_correlation": nearest_correlation,
    "shrinkage": shrinkage,
}


class GaussianSigns(NamedTuple):
    """What is fitted: dim is the number of bits, and one more for "flip", whose last sign the others are times."""

    factor: Float[np.ndarray, "dim dim"]  # L, lower triangular: rows are directions
    thresholds: Float[np.ndarray, " dim"]  # t


def gaussian_signs(kind: str, repair: str) -> BinaryModel:
    """The model as functions; `kind` is "flip" or "threshold", `repair` one of `REPAIRS`."""
    flip = kind == "flip"
    repaired = REPAIRS[repair]

    def shapes(num_bits: int) -> dict[str, tuple[int, ...]]:
        dim = num_bits + flip
        return {"factor": (dim, dim), "thresholds": (dim,)}

    def fit_moments(moments: BinaryMoments) -> GaussianSigns:
        if flip:
            correlation = arcsine_law.gaussian_correlation(arcsine_law.augmented(moments))
            return GaussianSigns(safe_cholesky(repaired(correlation)), np.zeros(len(correlation)))
        factor = safe_cholesky(unit_diagonal(repaired(tetrachoric.tetrachoric(moments))))
        factor /= np.linalg.norm(factor, axis=1, keepdims=True)  # unit variances in spite of jitter: exact means
        return GaussianSigns(factor, tetrachoric.thresholds_of(moments.mean))

    def fit(codes: Codes, seed: int = 0) -> GaussianSigns:
        del seed
        return fit_moments(moments_of(codes))

    def sample(fitted: GaussianSigns, key: PRNGKey, num: int) -> Bool[Array, "num bits"]:
        factor, thresholds = (jnp.asarray(array) for array in fitted)
        noise = jax.random.normal(key, (num, len(factor)), factor.dtype)
        gaussian = jnp.matmul(noise, factor.T, precision=jax.lax.Precision.HIGHEST)
        signs = gaussian + thresholds[jnp.newaxis] >= 0
        return signs[:, :-1] == signs[:, -1:] if flip else signs

    def expected_moments(fitted: GaussianSigns) -> BinaryMoments:
        correlation = correlation_of(fitted)
        if flip:
            signs = arcsine_law.sign_moments(correlation)
            np.fill_diagonal(signs, 1.0)
            return arcsine_law.moments_of_augmented(signs)
        spread = np.linalg.norm(np.asarray(fitted.factor, np.float64), axis=1)
        thresholds = np.asarray(fitted.thresholds, np.float64) / spread
        return BinaryMoments(2.0 * ndtr(thresholds) - 1.0, tetrachoric.pair_moments(thresholds, correlation))

    def complete(
        fitted: GaussianSigns, codes: Codes, known: Bool[np.ndarray, " bits"], seed: int, num_sweeps: int = 60
    ) -> Codes:
        given = np.concatenate([known, [True]]) if flip else known
        covariance = shrinkage(correlation_of(fitted), orthant.LEAST)
        thresholds = np.asarray(fitted.thresholds, np.float64)
        drawn = orthant.complete_signs(covariance, thresholds, with_last(fitted, codes), given, seed, num_sweeps)
        return drawn[:, : codes.shape[1]]

    return BinaryModel(
        kind, GaussianSigns, shapes, fit, sample, complete, fit_moments, expected_moments=expected_moments
    )


def correlation_of(fitted: GaussianSigns) -> Float64[np.ndarray, "dim dim"]:
    """Correlations of the Gaussian variables."""
    factor = np.asarray(fitted.factor, np.float64)
    return unit_diagonal(factor @ factor.T)


def with_last(fitted: GaussianSigns, codes: Codes) -> Bool[np.ndarray, "num dim"]:
    """Signs of all Gaussian variables that make the codes: of "flip", one more, of which +1 is the choice."""
    extra = len(fitted.thresholds) - codes.shape[1]
    return np.concatenate([codes, np.ones((len(codes), extra), bool)], axis=1)

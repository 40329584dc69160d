"""Ways between two codes along a great circle of the Gaussian vectors behind a moment model.

A Gaussian vector e rounds to the code sign(L e + t). "hyperplane" finds approximate e of both ends by the iterative
means of the original, and so misses bits of them; "orthant" draws e given the code, so that both ends are exact.
"""

import numpy as np
from jaxtyping import Bool, Float64

from exflow.core.binary import orthant
from exflow.core.binary.gaussian_signs import GaussianSigns, correlation_of, with_last
from exflow.core.binary.model import Codes
from exflow.core.binary.positive_definite import shrinkage
from exflow.errors import UserError

Path = Bool[np.ndarray, "steps num bits"]
Vectors = Float64[np.ndarray, "num dim"]
MAX_ROUNDS = 10  # of the means of the rows whose bits are not set


def slerp(share: Float64[np.ndarray, " steps"], begin: Vectors, end: Vectors) -> Float64[np.ndarray, "steps num dim"]:
    """Points at these shares of the angle between vectors; straight lines between those of one direction.

    Vectors of any length: (sin((1 - t) w) begin + sin(t w) end) / sin(w) with their angle w.
    """
    first, second = _slerp_weights(share, begin, end)
    return first * begin + second * end


def interpolate_orthant(
    fitted: GaussianSigns, begin: Codes, end: Codes, num_steps: int, seed: int, num_sweeps: int = 60
) -> Path:
    """Codes from `begin` to `end`, both included; of "flip", every bit flips at most once.

    Vectors a with the signs of the codes are drawn (`orthant`), e = L^-1 a is moved by `slerp`, and so is a = L e. The
    correlations are shrunk where an eigenvalue is below `orthant.LEAST`, as those of a repaired matrix are.

    Args:
      fitted: Of a moment model.
      begin: Codes at share 0.
      end: Codes at share 1.
      num_steps: At least 2.
      seed: Of the draws.
      num_sweeps: Of the Gibbs sampler.
    """
    covariance = shrinkage(correlation_of(fitted), orthant.LEAST)
    thresholds = np.asarray(fitted.thresholds, np.float64)
    ends = np.concatenate([with_last(fitted, begin), with_last(fitted, end)])
    a = orthant.sample_orthant(covariance, thresholds, ends, seed, num_sweeps)
    a_begin, a_end = a[: len(begin)], a[len(begin) :]
    e = np.linalg.solve(np.linalg.cholesky(covariance), a.T).T
    first, second = _slerp_weights(np.linspace(0.0, 1.0, num_steps), e[: len(begin)], e[len(begin) :])
    return (first * a_begin + second * a_end + thresholds >= 0)[..., : begin.shape[1]]


def interpolate_hyperplane(fitted: GaussianSigns, begin: Codes, end: Codes, num_steps: int) -> Path:
    """The original's: codes near `begin` at share 0 to codes near `end` at share 1, without the flip by the last sign.

    Args:
      fitted: Of a moment model "flip".
      begin: Codes.
      end: Codes.
      num_steps: At least 2.

    Raises:
      UserError: The model has thresholds.
    """
    if len(fitted.thresholds) == begin.shape[1]:
        raise UserError("hyperplane: expected a moment model of kind flip, got threshold. Use interpolate_orthant.")
    factor = np.asarray(fitted.factor, np.float64)
    normals = [np.stack([hyperplane_normal(factor[:-1], code) for code in codes]) for codes in (begin, end)]
    return slerp(np.linspace(0.0, 1.0, num_steps), *normals) @ factor[:-1].T >= 0


def hyperplane_normal(
    rows: Float64[np.ndarray, "bits dim"], code: Bool[np.ndarray, " bits"]
) -> Float64[np.ndarray, " dim"]:
    """A unit vector on whose positive side most rows of set bits lie, and most others on its negative side."""
    difference = _mean_direction(rows[code], None) - _mean_direction(rows[~code], MAX_ROUNDS)
    return _unit(difference)


def _mean_direction(rows: Float64[np.ndarray, "rows dim"], max_rounds: int | None) -> Float64[np.ndarray, " dim"]:
    """Direction of the mean of rows, of which those on its negative side are added once more, and again.

    Rounds end when there are not fewer rows on the negative side, copies counted, than before; with a number of rounds
    at most, when there are more.
    """
    copies = np.ones(len(rows))
    best = direction = _unit(copies @ rows)
    fewest, rounds = np.inf, 0
    while True:
        wrong = rows @ direction < 0
        num_wrong = copies[wrong].sum()
        if num_wrong > fewest or (num_wrong == fewest and max_rounds is None):
            return best
        best, fewest = direction, num_wrong
        if num_wrong == 0 or rounds == max_rounds:
            return best
        copies[wrong] *= 2
        direction, rounds = _unit(copies @ rows), rounds + 1


def _slerp_weights(share: np.ndarray, begin: Vectors, end: Vectors) -> tuple[np.ndarray, np.ndarray]:
    """Weights [steps, num, 1] of both ends."""
    cosine = (begin * end).sum(axis=-1) / (np.linalg.norm(begin, axis=-1) * np.linalg.norm(end, axis=-1))
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    share = share[:, np.newaxis]
    near = np.sin(angle) < 1e-9
    divisor = np.where(near, 1.0, np.sin(angle))
    first = np.where(near, 1.0 - share, np.sin((1.0 - share) * angle) / divisor)
    second = np.where(near, share, np.sin(share * angle) / divisor)
    return first[..., np.newaxis], second[..., np.newaxis]


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(np.linalg.norm(vector), np.finfo(np.float64).tiny)

"""Symmetric matrices that should be positive semidefinite and are not: nearest ones, shrinkage, safe factors.

Everything is by symmetric eigenvalues, O(dim^3) in float64.
"""

import numpy as np
from jaxtyping import Float64

from exflow.errors import UserError

Matrix = Float64[np.ndarray, "dim dim"]


def nearest_psd(matrix: Matrix) -> Matrix:
    """The nearest positive semidefinite matrix in Frobenius norm, with just enough jitter for a Cholesky factor.

    With the polar decomposition B = U P of the symmetric part it is (B + P) / 2: negative eigenvalues become 0. What
    has a Cholesky factor is left as it is.

    Source: Higham 1988, "Computing a nearest symmetric positive semidefinite matrix".
    """
    symmetric = (matrix + matrix.T) / 2.0
    return _jittered(symmetric if _has_cholesky(symmetric) else _without_negative(symmetric))


def nearest_correlation(matrix: Matrix, tolerance: float = 1e-7, max_steps: int = 500) -> Matrix:
    """The nearest positive semidefinite matrix with unit diagonal, in Frobenius norm.

    Alternating projections on the positive semidefinite matrices, with the correction of Dykstra, and on those with
    unit diagonal; at the end the diagonal is scaled to 1, which keeps the matrix semidefinite.

    Args:
      matrix: Any symmetric matrix.
      tolerance: Of the largest difference of the two projections.
      max_steps: Eigendecompositions at most, after which the matrix is semidefinite but not quite the nearest.

    Source: Higham 2002, "Computing the nearest correlation matrix - a problem from finance", algorithm 3.3.
    """
    unit = (matrix + matrix.T) / 2.0
    np.fill_diagonal(unit, 1.0)
    correction, semidefinite = np.zeros_like(unit), unit
    for _ in range(max_steps):
        corrected = unit - correction
        semidefinite = _without_negative(corrected)
        correction = semidefinite - corrected
        unit = semidefinite.copy()
        np.fill_diagonal(unit, 1.0)
        if np.abs(unit - semidefinite).max() <= tolerance:
            break
    return unit_diagonal(semidefinite)


def shrinkage(matrix: Matrix, least: float = 0.0) -> Matrix:
    """The smallest convex combination with I whose eigenvalues are at least `least`; the diagonal stays 1.

    (1 - s) l + s >= least for the lowest eigenvalue l gives s = (least - l) / (1 - l), or 0.

    Args:
      matrix: Symmetric, with unit diagonal.
      least: Lowest eigenvalue allowed, below 1.

    Source: Higham, Strabic and Sego 2016, "Restoring definiteness via shrinking".
    """
    lowest = np.linalg.eigvalsh(matrix)[0]
    if lowest >= least:
        return matrix
    share = (least - lowest) / (1.0 - lowest)
    return (1.0 - share) * matrix + share * np.eye(len(matrix))


def safe_cholesky(matrix: Matrix) -> Matrix:
    """Lower Cholesky factor of a matrix that is positive semidefinite up to rounding, by jitter where needed."""
    return np.linalg.cholesky(_jittered(matrix))


def unit_diagonal(matrix: Matrix) -> Matrix:
    """Correlations of a covariance."""
    scale = 1.0 / np.sqrt(np.diagonal(matrix))
    scaled = matrix * scale * scale[:, np.newaxis]
    np.fill_diagonal(scaled, 1.0)
    return scaled


def _without_negative(matrix: Matrix) -> Matrix:
    """Negative eigenvalues set to 0; from the fewer of the negative and the others."""
    values, vectors = np.linalg.eigh(matrix)
    num_negative = int(np.searchsorted(values, 0.0))
    if 2 * num_negative < len(values):
        part = vectors[:, :num_negative]
        found = matrix - (part * values[:num_negative]) @ part.T
    else:
        part = vectors[:, num_negative:]
        found = (part * values[num_negative:]) @ part.T
    return (found + found.T) / 2.0


def _has_cholesky(matrix: Matrix) -> bool:
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return False
    return True


def _jittered(matrix: Matrix, max_tries: int = 100) -> Matrix:
    """With (max(-l, 0) + spacing) k^2 on the diagonal, added for k = 1, 2, ... until there is a Cholesky factor.

    l is the lowest eigenvalue, the spacing that of floating-point numbers at the norm of the matrix.

    Raises:
      UserError: There never is one: entries are not finite.
    """
    spacing = np.spacing(np.linalg.norm(matrix))
    for k in range(1, max_tries + 1):
        if not np.isfinite(matrix).all():
            break
        if _has_cholesky(matrix):
            return matrix
        lowest = np.linalg.eigvalsh(matrix)[0]
        matrix = matrix + (max(-lowest, 0.0) + spacing) * k**2 * np.eye(len(matrix))
    raise UserError("matrix: expected finite entries, got some that are not. Check the codes that its moments are of.")

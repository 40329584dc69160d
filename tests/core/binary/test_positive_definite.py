"""Repairs of indefinite matrices against a published example, optimality conditions and the polar decomposition."""

import numpy as np
import pytest
from scipy import linalg

from exflow.core.binary import positive_definite
from exflow.core.binary.positive_definite import nearest_correlation, nearest_psd, safe_cholesky, shrinkage
from exflow.errors import UserError


def indefinite(dim, seed=0):
    """Symmetric with unit diagonal and many negative eigenvalues."""
    entries = np.random.default_rng(seed).uniform(-1, 1, (dim, dim))
    matrix = np.tril(entries, -1)
    return matrix + matrix.T + np.eye(dim)


def test_nearest_psd_is_half_the_matrix_and_its_polar_factor():
    matrix = indefinite(9)
    _, polar = linalg.polar(matrix)
    np.testing.assert_allclose(nearest_psd(matrix), (matrix + polar) / 2, atol=1e-12)
    asymmetric = matrix + np.triu(np.ones((9, 9)), 1) - np.tril(np.ones((9, 9)), -1)
    np.testing.assert_allclose(nearest_psd(asymmetric), nearest_psd(matrix), atol=1e-12)


def test_nearest_correlation_of_the_published_example():
    """Higham 2002, section 5: the tridiagonal matrix of ones."""
    found = nearest_correlation(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]))
    np.testing.assert_allclose(found[[0, 1, 0], [1, 2, 2]], [0.7607, 0.7607, 0.1573], atol=5e-5)


def test_nearest_correlation_meets_the_conditions_of_optimality():
    """X is nearest if X - A = diag + Z with Z positive semidefinite and Z X = 0."""
    matrix = indefinite(12)
    found = nearest_correlation(matrix, tolerance=1e-11, max_steps=5000)
    np.testing.assert_array_equal(np.diagonal(found), 1.0)
    assert linalg.eigvalsh(found)[0] > -1e-12
    # the diagonal multipliers follow from (X - A - diag) X = 0 on its diagonal
    multipliers = np.diagonal((found - matrix) @ found)
    dual = found - matrix - np.diag(multipliers)
    np.testing.assert_allclose(dual @ found, 0, atol=1e-8)
    assert linalg.eigvalsh(dual)[0] > -1e-8
    assert linalg.norm(found - matrix) < linalg.norm(shrinkage(matrix) - matrix)


def test_shrinkage_stops_at_the_first_matrix_allowed():
    matrix = indefinite(12)
    for least in (0.0, 0.02):
        found = shrinkage(matrix, least)
        np.testing.assert_allclose(linalg.eigvalsh(found)[0], least, atol=1e-13)
        np.testing.assert_allclose(np.diagonal(found), 1.0, atol=1e-15)
        share = found[0, 1] / matrix[0, 1]
        np.testing.assert_allclose(found, share * matrix + (1 - share) * np.eye(12), atol=1e-14)


@pytest.mark.parametrize("repair", [nearest_psd, nearest_correlation, shrinkage])
def test_definite_matrices_stay_and_repaired_ones_have_a_factor(repair):
    matrix = indefinite(30)
    definite = 0.1 * np.eye(30) + 0.9 * shrinkage(matrix)
    np.testing.assert_allclose(repair(definite), definite, atol=1e-14)
    factor, repaired = safe_cholesky(repair(matrix)), repair(matrix)
    np.testing.assert_allclose(factor @ factor.T, repaired, atol=1e-12)
    np.testing.assert_array_equal(np.triu(factor, 1), 0)


def test_jitter_is_added_until_there_is_a_factor():
    matrix = np.ones((5, 5)) - 1e-9 * np.eye(5)
    factor = safe_cholesky(matrix)
    np.testing.assert_allclose(factor @ factor.T, matrix, atol=1e-8)
    with pytest.raises(UserError, match="matrix: expected finite entries"):
        safe_cholesky(np.full((2, 2), np.nan))


def test_few_and_many_negative_eigenvalues_are_removed_alike():
    for sign in (1.0, -1.0):
        matrix = sign * (np.diag([5.0, 4.0, 3.0, -1.0]) + 0.1)
        values, vectors = linalg.eigh(matrix)
        expected = (vectors * np.maximum(values, 0)) @ vectors.T
        np.testing.assert_allclose(positive_definite._without_negative(matrix), expected, atol=1e-14)

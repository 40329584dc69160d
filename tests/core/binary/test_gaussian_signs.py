"""The moment model: exact moments where a Gaussian has them, and the known errors of repairs where none has."""

import jax
import numpy as np
import pytest
from scipy import stats

from exflow.core.binary import arcsine_law
from exflow.core.binary.gaussian_signs import REPAIRS
from exflow.core.binary.moments import BinaryMoments, moments_of
from exflow.core.binary.registry import binary_model
from tests.core.binary.cases import all_codes, clustered, moments_by_enumeration, probabilities, weakly_dependent


def root_mean_square(values):
    return float(np.sqrt((values**2).mean()))


def errors(kind, repair, moments):
    """Root mean square errors of means and of pair moments, exact."""
    model = binary_model(kind, repair=repair)
    found = model.expected_moments(model.fit_moments(moments))
    pairs = ~np.eye(len(moments.mean), dtype=bool)
    return root_mean_square(found.mean - moments.mean), root_mean_square((found.second - moments.second)[pairs])


def test_arcsine_law_and_its_inverse():
    rng = np.random.default_rng(0)
    loading = rng.normal(size=(13, 5))
    covariance = loading @ loading.T + np.eye(13)
    scale = np.sqrt(np.diagonal(covariance))
    correlation = covariance / np.outer(scale, scale)
    signs = arcsine_law.sign_moments(correlation)
    np.testing.assert_allclose(arcsine_law.gaussian_correlation(signs), correlation, rtol=0, atol=1e-15)
    law = stats.multivariate_normal([0, 0], correlation[:2, :2])
    np.testing.assert_allclose(signs[0, 1], 4 * law.cdf([0, 0]) - 1, rtol=0, atol=1e-12)
    moments = arcsine_law.moments_of_augmented(signs)
    np.testing.assert_array_equal(arcsine_law.augmented(moments), signs)


@pytest.mark.parametrize("repair", REPAIRS)
def test_moments_are_exact_where_a_gaussian_has_them(repair):
    assert max(errors("threshold", repair, moments_of(weakly_dependent(4000, 12)))) < 1e-12
    flips = np.random.default_rng(0).normal(size=(4000, 13)) + np.random.default_rng(1).normal(size=(4000, 1)) > 0
    moments = moments_of(flips[:, :-1] == flips[:, -1:])
    assert max(errors("flip", repair, moments)) < 1e-12


@pytest.mark.parametrize("kind", ["flip", "threshold"])
def test_expected_moments_are_those_of_all_codes(kind):
    """Probabilities of all 2^4 codes by integration of rectangles; with a matrix that needed a repair."""
    model = binary_model(kind, repair="higham88")
    fitted = model.fit(clustered(200, 4, 3, seed=3))
    probability = probabilities(model, fitted, 4)
    np.testing.assert_allclose(probability.sum(), 1.0, atol=1e-4)
    mean, second = moments_by_enumeration(probability, all_codes(4))
    found = model.expected_moments(fitted)
    np.testing.assert_allclose(found.mean, mean, atol=2e-4)
    np.testing.assert_allclose(found.second, second, atol=2e-4)


@pytest.mark.parametrize(("num", "num_bits", "clusters"), [(20_000, 64, 10), (20_000, 64, 3), (500, 64, 10)])
def test_repairs_err_on_the_means_of_flips_and_never_on_those_of_thresholds(num, num_bits, clusters):
    """Both exact where they can be; of the data of clusters they cannot."""
    moments = moments_of(clustered(num, num_bits, clusters, seed=1))
    assert np.linalg.eigvalsh(arcsine_law.gaussian_correlation(arcsine_law.augmented(moments)))[0] < -0.05
    original_mean, original_pair = errors("flip", "higham88", moments)
    nearest_mean, nearest_pair = errors("flip", "nearest_correlation", moments)
    threshold_mean, threshold_pair = errors("threshold", "nearest_correlation", moments)
    assert 0.01 < nearest_mean < original_mean < 0.1
    assert original_mean > 2 * original_pair
    assert threshold_mean < 1e-15
    factor = binary_model("threshold").fit_moments(moments).factor  # of unit variances, in spite of jitter
    np.testing.assert_allclose(np.linalg.norm(factor, axis=1), 1.0, rtol=0, atol=1e-15)
    assert threshold_pair < 2 * max(original_pair, nearest_pair)


def test_bits_that_never_change_stay():
    codes = clustered(300, 5, 2)
    codes[:, 1], codes[:, 3] = True, False
    model = binary_model("threshold")
    fitted = model.fit(codes)
    draws = np.asarray(model.sample(fitted, jax.random.key(0), 200))
    assert draws[:, 1].all()
    assert not draws[:, 3].any()
    np.testing.assert_array_equal(model.expected_moments(fitted).mean[[1, 3]], [1, -1])


def test_without_the_flip_means_would_vanish():
    """The signs of the Gaussian alone have mean 0, those times the last sign the given means."""
    mean, num = np.array([0.5, -0.4, 0.2]), 20_000
    moments = BinaryMoments(mean, np.outer(mean, mean) + np.diag(1 - mean**2))
    assert max(errors("flip", "shrinkage", moments)) < 1e-12
    model = binary_model("flip")
    fitted = model.fit_moments(moments)
    draws = np.asarray(model.sample(fitted, jax.random.key(3), num))
    np.testing.assert_allclose(2 * draws.mean(axis=0) - 1, mean, atol=5 / np.sqrt(num))
    unflipped = np.random.default_rng(3).normal(size=(num, 4)) @ fitted.factor.T > 0
    np.testing.assert_allclose(2 * unflipped.mean(axis=0) - 1, 0, atol=5 / np.sqrt(num))

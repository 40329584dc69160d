"""The bivariate normal distribution function and its inverse against scipy, quadrature and closed forms."""

import numpy as np
import pytest
from scipy import integrate, special, stats

from exflow.core.binary import bivariate_normal, tetrachoric
from exflow.core.binary.moments import BinaryMoments, moments_of
from exflow.core.binary.tetrachoric import solve_pairs
from tests.core.binary.cases import clustered


def by_plackett(h, k, r):
    """Phi(h) Phi(k) plus the integral of Plackett's identity, for |r| up to about 0.99."""

    def slope(angle):
        return np.exp(-(h**2 + k**2 - 2 * h * k * np.sin(angle)) / (2 * np.cos(angle) ** 2)) / (2 * np.pi)

    return special.ndtr(h) * special.ndtr(k) + integrate.quad(slope, 0, np.arcsin(r), epsabs=1e-15, epsrel=1e-13)[0]


def near_one(h, k, r, num=100):
    """Phi(h) - P(a <= h, b > k), by a Gauss-Legendre rule in units of sqrt(1 - r^2); for r near 1."""
    h, k, r = h[:, None], k[:, None], r[:, None]
    s = np.sqrt((1 - r) * (1 + r))
    shift = ((k - h) + (1 - r) * h) / s
    points, weights = np.polynomial.legendre.leggauss(num)
    y = (points + 1) * (14 - shift) / r / 2
    values = weights * stats.norm.pdf(h - s * y) * special.ndtr(-(shift + r * y)) * (14 - shift) / r / 2
    return (special.ndtr(h) - s * values.sum(axis=1, keepdims=True))[:, 0]


def test_distribution_function():
    rng = np.random.default_rng(0)
    h, k = 2 * rng.normal(size=(2, 300))
    r = rng.uniform(-0.99, 0.99, 300)
    h[:20], k[10:30] = 0.0, 0.0
    k[30:40], k[40:50] = h[30:40], -h[40:50]
    expected = np.array([by_plackett(*each) for each in zip(h, k, r, strict=True)])
    np.testing.assert_allclose(bivariate_normal.cdf(h, k, r), expected, rtol=0, atol=1e-14)
    for i in range(0, 60, 6):
        law = stats.multivariate_normal([0, 0], [[1, r[i]], [r[i], 1]])
        assert abs(law.cdf([h[i], k[i]]) - expected[i]) < 1e-12  # the oracles agree


def test_distribution_function_near_its_extremes():
    rng = np.random.default_rng(1)
    gap = 10.0 ** -rng.uniform(2, 14, 100)
    h = rng.normal(size=100)
    k = h + rng.normal(size=100) * np.sqrt(2 * gap)
    expected = near_one(h, k, 1 - gap)
    np.testing.assert_allclose(bivariate_normal.cdf(h, k, 1 - gap), expected, rtol=0, atol=1e-13)
    mirrored = special.ndtr(h) - expected
    np.testing.assert_allclose(bivariate_normal.cdf(h, -k, gap - 1), mirrored, rtol=0, atol=1e-13)
    ones, k = np.ones(100), rng.normal(size=100)
    np.testing.assert_allclose(bivariate_normal.cdf(h, k, ones), special.ndtr(np.minimum(h, k)), atol=1e-15)
    least = np.maximum(special.ndtr(h) + special.ndtr(k) - 1, 0)
    np.testing.assert_allclose(bivariate_normal.cdf(h, k, -ones), least, atol=1e-15)
    far = bivariate_normal.cdf(np.array([40.0, -40.0, 0.3]), np.array([0.3, 0.3, 40.0]), np.full(3, 0.6))
    np.testing.assert_allclose(far, [special.ndtr(0.3), 0, special.ndtr(0.3)], atol=1e-15)


def test_slope_is_the_derivative():
    h, k, angle, step = np.array([0.3, -1.0]), np.array([-0.2, 0.7]), np.array([0.5, -1.2]), 1e-5
    rise = bivariate_normal.cdf(h, k, np.sin(angle + step)) - bivariate_normal.cdf(h, k, np.sin(angle - step))
    np.testing.assert_allclose(bivariate_normal.slope(h, k, angle), rise / (2 * step), rtol=1e-6)


def test_correlations_come_back():
    rng = np.random.default_rng(2)
    h, k = rng.normal(size=(2, 2000))
    r = np.sin(rng.uniform(-1.5, 1.5, 2000))
    both = bivariate_normal.cdf(h, k, r)
    found = solve_pairs(h, k, both)
    np.testing.assert_allclose(bivariate_normal.cdf(h, k, found), both, rtol=0, atol=1.1e-14)
    steep = bivariate_normal.slope(h, k, np.arcsin(r)) > 1e-4  # elsewhere many correlations give the probability
    assert steep.mean() > 0.5
    np.testing.assert_allclose(found[steep], r[steep], rtol=0, atol=1e-9)


def test_arcsine_law_is_the_case_of_zero_thresholds():
    r, zero = np.linspace(-1, 1, 21), np.zeros(21)
    np.testing.assert_allclose(solve_pairs(zero, zero, 0.25 + np.arcsin(r) / (2 * np.pi)), r, atol=1e-12)


def test_impossible_moments_become_the_nearest_possible_ones():
    h, k = np.array([0.2, 0.2, -0.5]), np.array([0.2, -0.4, -0.5])
    most = bivariate_normal.cdf(h, k, solve_pairs(h, k, np.ones(3)))
    np.testing.assert_allclose(most, special.ndtr(np.minimum(h, k)), rtol=0, atol=1.1e-14)
    least = solve_pairs(h, k, np.zeros(3))
    expected = np.maximum(special.ndtr(h) + special.ndtr(k) - 1, 0)
    np.testing.assert_allclose(bivariate_normal.cdf(h, k, least), expected, rtol=0, atol=1.1e-14)
    assert (least < -0.9).all()


def test_bits_that_never_change_have_no_correlation():
    codes = clustered(500, 6, 3)
    codes[:, 2], codes[:, 4] = True, False
    moments = moments_of(codes)
    correlation = tetrachoric.tetrachoric(moments)
    for i in (2, 4):
        np.testing.assert_array_equal(correlation[i], np.eye(6)[i])
    thresholds = tetrachoric.thresholds_of(moments.mean)
    np.testing.assert_allclose(tetrachoric.pair_moments(thresholds, correlation), moments.second, atol=1e-13)


@pytest.mark.parametrize("pairs", [tetrachoric.PAIRS, 100])
def test_moments_of_data_come_back_in_any_chunks(monkeypatch, pairs):
    monkeypatch.setattr(tetrachoric, "PAIRS", pairs)
    moments = moments_of(clustered(300, 20, 3))
    correlation = tetrachoric.tetrachoric(moments)
    thresholds = tetrachoric.thresholds_of(moments.mean)
    np.testing.assert_array_equal(correlation, correlation.T)
    np.testing.assert_allclose(2 * special.ndtr(thresholds) - 1, moments.mean, atol=1e-14)
    np.testing.assert_allclose(tetrachoric.pair_moments(thresholds, correlation), moments.second, atol=1e-13)


def test_equal_and_opposite_bits():
    mean = np.array([0.3, 0.3, -0.3])
    moments = BinaryMoments(mean, np.array([[1.0, 1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]))
    np.testing.assert_allclose(tetrachoric.tetrachoric(moments), moments.second, atol=1e-6)

"""Frechet distances against closed forms and scipy's matrix square root, streaming, and the standard error."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from exflow.evaluation.metrics.fid import (
    FeatureMoments,
    fid,
    fid_estimate,
    frechet_distance,
    merged,
    moments,
    streamed_moments,
)


def gaussian(mean, covariance):
    """Moments as if of 11 images."""
    return FeatureMoments(11, np.asarray(mean, float), 10 * np.asarray(covariance, float))


def by_square_root(x, y):
    s, t = np.cov(x.T), np.cov(y.T)
    cross = np.trace(np.real(sqrtm(s @ t)))
    return ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum() + np.trace(s) + np.trace(t) - 2 * cross


def test_closed_forms_of_gaussians():
    assert frechet_distance(gaussian([1], [[4]]), gaussian([3], [[9]])) == pytest.approx(4 + (2 - 3) ** 2, abs=1e-12)
    a, b = gaussian([0, 0, 1], np.diag([1, 4, 0])), gaussian([2, 0, 0], np.diag([9, 1, 25]))
    assert frechet_distance(a, b) == pytest.approx(5 + 4 + 1 + 25, abs=1e-12)  # commuting: of deviations, one of them 0
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    a, b = (FeatureMoments(g.count, turn @ g.mean, turn @ g.scatter @ turn.T) for g in (a, b))
    assert frechet_distance(a, b) == pytest.approx(35, abs=1e-10)
    # S2 = A S1 A with symmetric positive A: the optimal map is A, and the distance tr((A - 1) S1 (A - 1))
    rng = np.random.default_rng(1)
    s, m = (root @ root.T + np.eye(4) for root in rng.normal(size=(2, 4, 4)))
    expected = np.trace((m - np.eye(4)) @ s @ (m - np.eye(4)))
    assert frechet_distance(gaussian(np.zeros(4), s), gaussian(np.zeros(4), m @ s @ m)) == pytest.approx(
        expected, rel=1e-12
    )


@pytest.mark.parametrize(("num_x", "num_y"), [(200, 150), (300, 13)])
def test_it_equals_the_matrix_square_root(num_x, num_y):
    """The second pair has a singular covariance of rank 12."""
    rng = np.random.default_rng(2)
    mix = rng.normal(size=(2, 20, 20))
    x, y = rng.normal(size=(num_x, 20)) @ mix[0], rng.normal(size=(num_y, 20)) @ mix[1] + 0.5
    np.testing.assert_allclose(fid(x, y), by_square_root(x, y), rtol=1e-6)
    np.testing.assert_allclose(fid(x, y), fid(y, x), rtol=1e-10)


@pytest.mark.parametrize(("number", "dim"), [(500, 20), (30, 100), (2, 5)])
def test_a_set_has_no_distance_from_itself(number, dim):
    x = 100 * np.random.default_rng(3).normal(size=(number, dim)) + 1000
    assert fid(x, x) < 1e-9 * np.var(x, axis=0).sum()
    assert fid(x, x[::-1]) < 1e-9 * np.var(x, axis=0).sum()


def test_two_sets_of_few_images_in_orthogonal_directions():
    """Nothing of either covariance is shared, and no rounding of directions without variance adds up."""
    x, y = np.zeros((4, 300)), np.zeros((4, 300))
    x[:, :2], y[:, 5:7] = [[1, 1], [1, -1], [-1, 1], [-1, -1]], [[3, 3], [3, -3], [-3, 3], [-3, -3]]
    np.testing.assert_allclose(fid(x, y), (2 + 18) * 4 / 3, rtol=1e-10)
    np.testing.assert_allclose(fid(x, np.zeros((4, 300))), 8 / 3, rtol=1e-10)  # images that are all alike


def test_streamed_moments_are_those_of_all():
    x = np.random.default_rng(4).normal(1e4, 1.0, size=(101, 7))
    found = streamed_moments(x[start : start + 20] for start in range(0, 120, 20))
    whole = moments(x)
    assert found.count == whole.count == 101
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(found.covariance, np.cov(x.T), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(whole.covariance, np.cov(x.T), rtol=1e-9, atol=1e-11)
    single = merged(moments(x[:1].astype(np.float32)), moments(x[1:]))
    np.testing.assert_allclose(single.mean, x.mean(axis=0), rtol=1e-7)
    with pytest.raises(ValueError, match="expected at least one batch, got none"):
        streamed_moments([])
    with pytest.raises(ValueError, match="expected at least 2 images for a covariance, got 1"):
        fid(x[:1], x)


def test_the_standard_error_is_that_of_repeated_draws():
    rng = np.random.default_rng(5)
    found = [fid_estimate(rng.normal(size=(200, 2)), rng.normal(0.5, 1.5, size=(300, 2))) for _ in range(50)]
    values = [estimate.value for estimate in found]
    assert 0.7 < np.mean([estimate.standard_error for estimate in found]) / np.std(values) < 1.4  # of 50: 10 % each
    assert np.mean(values) == pytest.approx(2 * 0.25 + 2 * 0.25, abs=5 * np.std(values) / 50**0.5)


def test_what_cannot_be_compared():
    x = np.zeros((5, 3))
    with pytest.raises(ValueError, match=r"y: expected \[images, 3\], as x, got \(5, 2\). Take both from one"):
        fid(x, np.zeros((5, 2)))
    with pytest.raises(ValueError, match="x: expected finite features, got NaN"):
        fid(np.full((5, 3), np.nan), x)
    with pytest.raises(ValueError, match="num_groups: expected 2 to 2 of 5 and 5 images, got 3"):
        fid_estimate(x, x, 3)

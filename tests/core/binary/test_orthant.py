"""Gaussian vectors of known signs against rejection sampling, and ways between codes."""

import operator

import numpy as np
import pytest
from scipy import stats

from exflow.core.binary import interpolation, orthant
from exflow.core.binary.interpolation import hyperplane_normal, interpolate_hyperplane, interpolate_orthant, slerp
from exflow.core.binary.registry import binary_model
from exflow.errors import UserError
from tests.core.binary.cases import clustered

CODES = clustered(2000, 32, 5)
BEGIN, END = CODES[:30], CODES[30:60]


def test_draws_are_those_of_rejection_sampling():
    covariance = np.array([[1.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 1.0]])
    thresholds, code, num = np.array([0.3, -0.5, 0.0]), np.array([True, False, False]), 4000
    drawn = orthant.sample_orthant(covariance, thresholds, np.tile(code, (num, 1)), 0, 30)
    free = np.random.default_rng(1).multivariate_normal(np.zeros(3), covariance, 60_000)
    kept = free[((free + thresholds >= 0) == code).all(axis=1)]
    assert ((drawn + thresholds >= 0) == code).all()
    for power in (1, 2):
        spread = np.sqrt((drawn**power).var(axis=0) / num + (kept**power).var(axis=0) / len(kept))
        assert (np.abs((drawn**power).mean(axis=0) - (kept**power).mean(axis=0)) < 5 * spread).all()
    np.testing.assert_allclose(
        np.corrcoef(drawn.T), np.corrcoef(kept.T), atol=5 / np.sqrt(len(kept)) + 5 / np.sqrt(num)
    )


def test_far_tails_are_those_of_the_exponential_law():
    """Beyond 30 standard deviations a normal variable exceeds its bound by about an exponential one of mean 1 / 30."""
    signs = np.ones((2000, 1), bool)
    excess = orthant.sample_orthant(np.eye(1), np.array([-30.0]), signs, 0, 1)[:, 0] - 30
    assert (excess >= 0).all()
    assert stats.kstest(excess, lambda x: 1 - stats.norm.sf(30 + x) / stats.norm.sf(30)).pvalue > 1e-3


def test_great_circles():
    begin, end = np.array([[1.0, 0.0, 0.0]]), np.array([[0.0, 3.0, 0.0]])
    path = slerp(np.array([0.0, 1 / 3, 1.0]), begin, end)
    np.testing.assert_allclose(path[:, 0], [[1, 0, 0], [np.cos(np.pi / 6), 1.5, 0], [0, 3, 0]], atol=1e-15)
    np.testing.assert_allclose(slerp(np.array([0.5]), begin, 3 * begin)[0], 2 * begin)


@pytest.mark.parametrize(("kind", "repair"), [("flip", "higham88"), ("threshold", "nearest_correlation")])
def test_ways_by_orthants_have_exact_ends_and_go_steadily(kind, repair):
    model = binary_model(kind, repair=repair)
    path = interpolate_orthant(model.fit(CODES), BEGIN, END, 11, seed=0)
    np.testing.assert_array_equal(path[0], BEGIN)
    np.testing.assert_array_equal(path[-1], END)
    distance = (path != BEGIN).sum(axis=2)
    assert (np.diff(distance.mean(axis=1)) > 0).all()
    if kind == "flip":
        assert (np.diff(distance, axis=0) >= 0).all()
    flips = (path[1:] != path[:-1]).sum(axis=2)
    assert flips.max(axis=0).mean() < 0.7 * (BEGIN != END).sum(axis=1).mean()  # not all at once


def test_ways_by_hyperplanes_miss_some_bits_of_their_ends():
    fitted = binary_model("flip", repair="higham88").fit(CODES)
    path = interpolate_hyperplane(fitted, BEGIN, END, 11)
    for found, end in ((path[0], BEGIN), (path[-1], END)):
        assert 0.02 < (found != end).mean() < 0.25
    assert (path[0] != END).mean() > 2 * (path[0] != BEGIN).mean()
    with pytest.raises(UserError, match="hyperplane: expected a moment model of kind flip, got threshold"):
        interpolate_hyperplane(binary_model("threshold").fit(CODES), BEGIN, END, 3)


def test_normals_of_hyperplanes_are_means_corrected_by_copies():
    """Rows by hand: the third of the set rows lies on the negative side of their mean until it is counted twice."""
    rows = np.array([[1.0, 0.0], [0.9, 0.3], [-0.5, 0.6], [0.0, -1.0]])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    code = np.array([True, True, True, False])
    assert (rows[2] @ rows[:3].mean(axis=0)) < 0
    mean = rows[:3].mean(axis=0) * 3 + rows[2]
    expected = mean / np.linalg.norm(mean) - rows[3]
    np.testing.assert_allclose(hyperplane_normal(rows, code), expected / np.linalg.norm(expected), atol=1e-15)
    for same in (np.ones(4, bool), np.zeros(4, bool)):
        np.testing.assert_allclose(np.linalg.norm(hyperplane_normal(rows, same)), 1.0)


def mean_by_lists(rows, max_rounds, worse):
    """Direction of the mean, with copies in a list as the original describes them."""

    def direction_of(working):
        mean = np.mean(working, axis=0)
        return mean / np.linalg.norm(mean)

    working = list(rows)
    best = direction_of(working)
    fewest = sum(row @ best < 0 for row in working)
    for _ in range(max_rounds):
        direction = best if len(working) == len(rows) else direction_of(working)
        working += [row for row in working if row @ direction < 0]
        direction = direction_of(working)
        count = sum(row @ direction < 0 for row in working)
        if fewest == 0 or worse(count, fewest):
            break
        best, fewest = direction, count
    return best


def test_means_with_copies_are_those_of_lists():
    """Random rows in few dimensions, of which some need several rounds."""
    rng, several = np.random.default_rng(0), 0
    for _ in range(40):
        rows = rng.normal(size=(12, 6)) + 0.3
        for max_rounds, most, worse in ((None, 100, operator.ge), (10, 10, operator.gt)):
            found = interpolation._mean_direction(rows, max_rounds)
            np.testing.assert_allclose(found, mean_by_lists(rows, most, worse), rtol=0, atol=1e-12)
            several += not np.allclose(found, mean_by_lists(rows, 1, worse))
    assert several > 0


@pytest.mark.parametrize("max_rounds", [None, 10])
def test_copies_that_do_not_help_end_the_rounds(max_rounds):
    """One row against three opposite ones: its copies are wrong like itself, and the mean was best."""
    rows = np.array([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_array_equal(interpolation._mean_direction(rows, max_rounds), [-1.0, 0.0])

"""The kernel distance against loops over pairs, its mean over equal distributions, and its standard error."""

import numpy as np
import pytest

from exflow.evaluation.metrics.kid import kid, squared_discrepancy, usual_subset_size


def by_loops(x, y):
    def kernel(a, b):
        return (a @ b / len(a) + 1) ** 3

    def within(z):
        return np.mean([kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j])

    return within(x) + within(y) - 2 * np.mean([kernel(a, b) for a in x for b in y])


def test_it_equals_the_loop_over_pairs():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 4)), rng.normal(0.3, 1.2, size=(12, 4))
    np.testing.assert_allclose(squared_discrepancy(x, y), by_loops(x, y), rtol=1e-11)
    whole = kid(x, y[:9], num_subsets=3, subset_size=9)  # every subset is the set
    np.testing.assert_allclose(whole.mean, by_loops(x, y[:9]), rtol=1e-11)
    assert whole.deviation < 1e-12


def test_exact_value_of_two_points():
    """The kernel is (1 + 1)^3 within sets of ones and of minus ones, and (1 - 1)^3 between them."""
    x, y = np.ones((3, 1)), -np.ones((3, 1))
    assert squared_discrepancy(x, y) == 8 + 8 - 0


def test_halves_of_a_set_are_within_three_standard_errors_of_0():
    x = np.random.default_rng(1).normal(size=(2000, 8))
    found = kid(x[:1000], x[1000:], num_subsets=40, subset_size=200)
    assert abs(found.mean) < 3 * found.standard_error
    assert (found.num_subsets, found.subset_size) == (40, 200)
    other = kid(x[:1000], x[1000:] + 0.3, num_subsets=40, subset_size=200)
    assert other.mean > 10 * other.standard_error


def test_the_standard_error_covers_repeated_draws():
    """Of different distributions, whose discrepancy varies like a mean: 5 subsets' worth of images."""
    rng = np.random.default_rng(2)
    found = [
        kid(rng.normal(size=(200, 3)), rng.normal(0.5, 1.0, size=(200, 3)), num_subsets=20, subset_size=40)
        for _ in range(25)
    ]
    ratio = np.mean([one.standard_error for one in found]) / np.std([one.mean for one in found])
    assert 0.65 < ratio < 1.6


def test_draws_are_the_same_for_a_seed_and_without_replacement():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 50, 3))
    assert kid(x, y, 5, 20, seed=1) == kid(x, y, 5, 20, seed=1)
    assert kid(x, y, 5, 20, seed=1).mean != kid(x, y, 5, 20, seed=2).mean


def test_sets_smaller_than_a_subset():
    assert [usual_subset_size(number) for number in (5000, 1000, 999, 40)] == [1000, 1000, 499, 20]
    x = np.zeros((10, 3))
    with pytest.raises(ValueError, match=r"subset_size: expected 2 to 10, the images of the smaller set, got 1000"):
        kid(x, x)
    with pytest.raises(ValueError, match="subset_size: expected 2 to 10"):
        kid(x, x, subset_size=1)

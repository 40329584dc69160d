"""Precision and recall of distributions: the curve from shares with known answers, and from sets of features."""

import sys

import numpy as np
import pytest

from exflow.errors import UserError
from exflow.evaluation.metrics.precision_recall import best_f, curve, precision_recall


def by_loops(real, generated, angle):
    slope = np.tan(angle)
    return sum(min(slope * r, g) for r, g in zip(real, generated, strict=True))


def test_the_curve_equals_the_loop():
    real, generated = np.array([0.5, 0.3, 0.2, 0.0]), np.array([0.1, 0.1, 0.5, 0.3])
    precision, recall = curve(real, generated, 7)
    angles = np.linspace(1e-10, np.pi / 2 - 1e-10, 7)
    np.testing.assert_allclose(precision, [by_loops(real, generated, angle) for angle in angles], rtol=1e-9)
    np.testing.assert_allclose(precision, recall * np.tan(angles), rtol=1e-9)
    np.testing.assert_allclose(precision[-1], 0.7, rtol=1e-6)  # what is generated where anything is real
    np.testing.assert_allclose(recall[0], 1.0, rtol=1e-6)  # all that is real is generated, if ever so little


def test_f_scores_weight_recall_and_precision():
    real, generated = np.full(10, 0.1), np.repeat([0.2, 0.0], 5)  # half of the modes
    curves = curve(real, generated)
    assert best_f(*curves, 1 / 8) > 0.98 > 0.55 > best_f(*curves, 8.0)
    assert best_f(*curve(generated, real), 8.0) > 0.98 > 0.55 > best_f(*curve(generated, real), 1 / 8)
    np.testing.assert_allclose(best_f(np.array([0.5]), np.array([0.25]), 8.0), 65 * 0.125 / (64 * 0.5 + 0.25))
    assert best_f(np.zeros(3), np.zeros(3), 8.0) == 0.0


def clusters(seed, offset=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(5, 4))[rng.integers(0, 5, 300)] * 10 + offset + rng.normal(size=(300, 4))


def test_identical_and_disjoint_sets():
    pytest.importorskip("sklearn", reason="precision and recall of distributions need scikit-learn")
    x = clusters(0)
    same = precision_recall(x, x, repeats=2)
    assert min(same.f_recall, same.f_precision) > 0.99
    assert same.precision.shape == same.recall.shape == (1001,)
    apart = precision_recall(x, x + 1000, repeats=2)
    assert (apart.f_recall, apart.f_precision) == (0.0, 0.0)


def test_a_set_that_lacks_modes_has_precision_and_less_recall():
    pytest.importorskip("sklearn", reason="precision and recall of distributions need scikit-learn")
    rng = np.random.default_rng(1)
    means = 20 * rng.normal(size=(10, 4))
    real, few = (means[rng.integers(0, modes, 400)] + rng.normal(size=(400, 4)) for modes in (10, 3))
    found = precision_recall(real, few, repeats=2)
    assert found.f_precision > 0.85 > 0.5 > found.f_recall
    again = precision_recall(real, few, repeats=2)
    np.testing.assert_array_equal(found.precision, again.precision)


def test_what_cannot_be_compared():
    x = np.zeros((30, 2))
    with pytest.raises(ValueError, match="generated: expected 30 images, as many as real ones, got 29"):
        precision_recall(x, x[:29])
    with pytest.raises(ValueError, match="clusters: expected at most 10, the images of both sets, got 20"):
        precision_recall(x[:5], x[:5])


def test_without_scikit_learn_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(UserError, match=r"scikit-learn is not installed.*pip install 'exflow\[metrics\]'"):
        precision_recall(np.zeros((30, 2)), np.zeros((30, 2)))

"""Ranking measures and flag rules against pairwise brute force, direct sweeps and numpy's quantiles."""

import numpy as np
import pytest

from exflow.evaluation.metrics import detection

RNG = np.random.default_rng(0)


def brute_force_auroc(scores, anomalous):
    wins = [(n > a) + 0.5 * (n == a) for n in scores[~anomalous] for a in scores[anomalous]]
    return np.mean(wins)


def swept_average_precision(scores, anomalous):
    """Sum of precision times increase of recall while the threshold rises through all distinct scores."""
    area, before = 0.0, 0.0
    for threshold in np.unique(scores):
        selected = scores <= threshold
        recall = (selected & anomalous).sum() / anomalous.sum()
        area += (recall - before) * (selected & anomalous).sum() / selected.sum()
        before = recall
    return area


@pytest.mark.parametrize("levels", [3, 7, 10**6], ids=["many ties", "ties", "no ties"])
def test_ranking_measures(levels):
    for _ in range(20):
        scores = RNG.integers(0, levels, 15).astype(float)
        anomalous = RNG.random(15) < 0.3
        anomalous[:2] = True, False
        np.testing.assert_allclose(detection.auroc(scores, anomalous), brute_force_auroc(scores, anomalous))
        expected = swept_average_precision(scores, anomalous)
        np.testing.assert_allclose(detection.average_precision(scores, anomalous), expected)


def test_perfect_useless_and_undefined_rankings():
    scores, anomalous = np.array([-5.0, 1.0, 2.0, 3.0]), np.array([True, False, False, False])
    assert detection.auroc(scores, anomalous) == detection.average_precision(scores, anomalous) == 1
    assert detection.auroc(-scores, anomalous) == 0
    assert detection.auroc(np.zeros(4), anomalous) == 0.5
    assert detection.average_precision(np.zeros(4), anomalous) == 0.25
    assert np.isnan(detection.auroc(scores, ~np.zeros(4, bool)))
    assert np.isnan(detection.average_precision(scores, np.zeros(4, bool)))


def test_quartile_flags_is_the_rule_of_the_paper():
    scores = RNG.normal(size=(4, 30))
    scores[0, 20], scores[1, 3], scores[2, 8] = -9, -9, -9
    flags = detection.quartile_flags(scores)
    for row, values in zip(flags, scores, strict=True):
        late = values[8:]
        q1, q3 = np.percentile(late, 25), np.percentile(late, 75)
        expected = [n >= 8 and value < q1 - 1.5 * (q3 - q1) for n, value in enumerate(values)]
        np.testing.assert_array_equal(row, expected)
    assert flags[0, 20]
    assert not flags[1, 3]
    assert flags[2, 8]


def test_summary_pools_flags_and_averages_rankings():
    scores, anomalous = RNG.normal(size=(50, 20)), RNG.random((50, 20)) < 0.15
    scores = scores - 3 * anomalous
    anomalous[7] = False  # no ranking measure for this sequence
    flags = scores < -2
    found = detection.summarize(scores, anomalous, flags, first=5)
    late, truth, decided = scores[:, 5:], anomalous[:, 5:], flags[:, 5:]
    usable = [row for row in range(50) if truth[row].any()]
    assert len(usable) < 50
    values = [brute_force_auroc(late[row], truth[row]) for row in usable]
    np.testing.assert_allclose(found.auroc.value, np.mean(values))
    np.testing.assert_allclose(found.auroc.standard_error, np.std(values, ddof=1) / np.sqrt(len(values)))
    swept = [swept_average_precision(late[row], truth[row]) for row in usable]
    np.testing.assert_allclose(found.average_precision.value, np.mean(swept))
    precision, recall = (decided & truth).sum() / decided.sum(), (decided & truth).sum() / truth.sum()
    np.testing.assert_allclose(found.f1.value, 2 * precision * recall / (precision + recall))
    np.testing.assert_allclose(found.false_alarm_rate.value, decided[~truth].mean())


def test_standard_error_of_f1_is_that_of_repetitions():
    values, errors = [], []
    for _ in range(80):
        anomalous = RNG.random((30, 10)) < 0.2
        scores = RNG.normal(size=(30, 10)) - 2 * anomalous
        estimate = detection.summarize(scores, anomalous, scores < -1.5, first=0).f1
        values.append(estimate.value)
        errors.append(estimate.standard_error)
    np.testing.assert_allclose(np.mean(errors), np.std(values), rtol=0.3)


def test_nothing_to_detect():
    none = np.zeros((3, 9), bool)
    found = detection.summarize(RNG.normal(size=(3, 9)), none, none)
    assert np.isnan([found.auroc.value, found.average_precision.value, found.f1.value]).all()
    assert found.false_alarm_rate.value == 0
    assert np.isnan(detection.summarize(np.zeros((1, 9)), none[:1], ~none[:1], first=0).f1.standard_error)

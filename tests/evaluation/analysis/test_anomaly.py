"""Sequences with anomalies, and their scores against dense Gaussian oracles."""

import numpy as np
import pytest

from exflow.errors import UserError
from exflow.evaluation import encoding
from exflow.evaluation.analysis import anomaly
from exflow.evaluation.metrics import detection
from tests.evaluation.toy import toy_model, toy_params
from tests.evaluation.toy_data import image_sets, predictive_log_prob

MODEL, PARAMS = toy_model(), toy_params(4, variance=0.7, covariance=0.6)
SETS = image_sets([20, 16, 22, 14], spread=14)
MAX_COUNT = 22


@pytest.fixture(scope="module")
def elements():
    return encoding.encode_split(MODEL, PARAMS, None, SETS, (0,), 40)


def classes_of(rows):
    return rows // MAX_COUNT


def test_labelled_sequences():
    found = anomaly.draw_sequences(np.random.default_rng(0), SETS.count, MAX_COUNT, 16, 500, num_anomalies=2)
    labels = classes_of(found.rows)
    assert set(np.unique(labels)) == {0, 1, 2}  # class 3 has too few images
    assert (found.rows % MAX_COUNT < SETS.count[labels]).all()
    np.testing.assert_array_equal(found.anomalous.sum(axis=1), 2)
    assert set(np.flatnonzero(found.anomalous.any(axis=0))) == set(range(8, 16))
    for row, wrong in zip(found.rows, found.anomalous, strict=True):
        (normal,), (other,) = np.unique(classes_of(row[~wrong])), np.unique(classes_of(row[wrong]))
        assert normal != other
        assert len(set(row)) == 16


def test_original_sequences_may_repeat_the_class():
    found = anomaly.draw_sequences(np.random.default_rng(1), SETS.count, MAX_COUNT, 14, 3000, "original")
    labels = classes_of(found.rows)
    assert set(np.flatnonzero(found.anomalous.any(axis=0))) == {9}
    np.testing.assert_array_equal(labels[:, 9] != labels[:, 0], found.anomalous[:, 9])
    np.testing.assert_allclose(found.anomalous[:, 9].mean(), 3 / 4, atol=5 * np.sqrt(3 / 16 / 3000))
    same = np.delete(labels, 9, axis=1) == labels[:, :1]
    assert same.all()


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        (9, {}, "set_size: expected at least 10 for 1 anomalies, got 9"),
        (12, {"protocol": "original"}, "set_size: expected at least 13"),
        (10, {"num_anomalies": 2}, "set_size: expected at least 11 for 2 anomalies"),
        (21, {}, "set_size: 1 classes have 21 images, anomalies need 2"),
        (14, {"protocol": "mine"}, "protocol: expected one of labelled, original, got 'mine'"),
    ],
)
def test_what_cannot_be_drawn(size, options, message):
    with pytest.raises(UserError, match=message):
        anomaly.draw_sequences(np.random.default_rng(0), SETS.count, MAX_COUNT, size, 3, **options)


def test_scores_equal_the_dense_oracle(elements):
    rows = anomaly.draw_sequences(np.random.default_rng(2), SETS.count, MAX_COUNT, 12, 3).rows
    streaming = anomaly.sequence_scores(MODEL, PARAMS, elements, rows, leave_one_out=False)
    leave_one_out = anomaly.sequence_scores(MODEL, PARAMS, elements, rows, leave_one_out=True)
    z = np.asarray(elements.z, np.float64).reshape(-1, 4)[rows[1]]
    for n in range(12):
        alone = predictive_log_prob(z[:0], z[n], PARAMS)
        np.testing.assert_allclose(streaming[1, n], predictive_log_prob(z[:n], z[n], PARAMS) - alone, atol=2e-4)
        others = predictive_log_prob(np.delete(z, n, axis=0), z[n], PARAMS)
        np.testing.assert_allclose(leave_one_out[1, n], others - alone, atol=2e-4)


def test_rejecting_leaves_flagged_elements_out(elements):
    rows = anomaly.draw_sequences(np.random.default_rng(3), SETS.count, MAX_COUNT, 14, 4, num_anomalies=3).rows
    scores, flags = anomaly.rejecting_scores(MODEL, PARAMS, elements, rows)
    assert flags.any()
    table = np.asarray(elements.z, np.float64).reshape(-1, 4)
    for sequence in range(2):
        accepted, z = np.ones(14, bool), table[rows[sequence]]
        for n in range(14):
            seen = z[:n][accepted[:n]]
            expected = predictive_log_prob(seen, z[n], PARAMS) - predictive_log_prob(z[:0], z[n], PARAMS)
            np.testing.assert_allclose(scores[sequence, n], expected, atol=2e-4)
            if n >= 8:
                q1, q3 = np.quantile(scores[sequence, 4:n], (0.25, 0.75))
                accepted[n] = scores[sequence, n] >= q1 - 1.5 * (q3 - q1)
        np.testing.assert_array_equal(flags[sequence], ~accepted)


def test_leave_one_out_detects_what_streaming_detects_and_more(elements):
    drawn = anomaly.draw_sequences(np.random.default_rng(4), SETS.count, MAX_COUNT, 14, 60, num_anomalies=3)
    found = {}
    for leave_one_out in (False, True):
        scores = anomaly.sequence_scores(MODEL, PARAMS, elements, drawn.rows, leave_one_out).astype(np.float64)
        found[leave_one_out] = detection.summarize(scores, drawn.anomalous, detection.quartile_flags(scores))
    assert found[False].auroc.value > 0.9
    assert found[True].auroc.value > 0.9

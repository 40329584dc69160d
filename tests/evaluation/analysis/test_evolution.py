"""Densities and class probabilities while images arrive, against dense Gaussian oracles; metrics read back."""

import json

import numpy as np
import pytest

from exflow.errors import UserError
from exflow.evaluation import cached, encoding
from exflow.evaluation.analysis import evolution, learning_curves, streams
from tests.evaluation.toy import toy_model, toy_params
from tests.evaluation.toy_data import image_sets, predictive_log_prob

MODEL, PARAMS = toy_model(), toy_params(4, variance=0.7, covariance=0.6)
SETS = image_sets([7, 7, 7])
LOG_DET = 4 * np.log(1 / 64)


@pytest.fixture(scope="module")
def elements():
    return streams.flat(encoding.encode_split(MODEL, PARAMS, None, SETS, (0,), 40))


def test_score_evolution(elements):
    context, test = np.array([[0, 1, 2, 3], [7, 8, 9, 10], [14, 14, 14, 14]]), np.array([4, 4, 14])
    found = evolution.score_evolution(MODEL, PARAMS, elements, context, test)
    assert found.score.shape == found.log_prob.shape == (3, 5)
    np.testing.assert_array_equal(found.score[:, 0], 0)
    z = np.asarray(elements.z, np.float64)
    for sequence in range(3):
        for n in range(5):
            expected = predictive_log_prob(z[context[sequence, :n]], z[test[sequence]], PARAMS)
            np.testing.assert_allclose(found.log_prob[sequence, n], expected + LOG_DET, rtol=2e-5)
    assert found.score[0, 4] > 0 > found.score[1, 4]  # its own class helps, another one does not
    assert found.score[2, 4] > found.score[2, 1]


def test_posterior_evolution(elements):
    support, query = np.arange(21).reshape(1, 3, 7)[..., :3], np.array([[3, 10, 17, 4]])
    found = evolution.posterior_evolution(MODEL, PARAMS, elements, support, query)
    assert found.shape == (1, 4, 4, 3)
    np.testing.assert_allclose(found[0, 0], -np.log(3), rtol=1e-6)
    z = np.asarray(elements.z, np.float64)
    for shots in (1, 3):
        for number, row in enumerate(query[0]):
            scores = np.array([predictive_log_prob(z[support[0, k, :shots]], z[row], PARAMS) for k in range(3)])
            expected = scores - np.logaddexp.reduce(scores)
            np.testing.assert_allclose(found[0, shots, number], expected, atol=1e-3)
    assert (found[0, 3].argmax(axis=-1) == [0, 1, 2, 0]).all()


def test_absorbing_nothing_changes_nothing(elements):
    states = cached.empty_states(MODEL, PARAMS, (2,))
    one = streams.take(elements, np.array([0, 8]))
    states = streams.absorb(MODEL, PARAMS, states, one, np.array([True, False]))
    log_probs = streams.log_prob(MODEL, PARAMS, states, streams.take(elements, np.array([1, 1])))
    z = np.asarray(elements.z, np.float64)
    expected = [predictive_log_prob(z[:1], z[1], PARAMS), predictive_log_prob(z[:0], z[1], PARAMS)]
    np.testing.assert_allclose(log_probs, np.add(expected, LOG_DET), rtol=2e-5)


def test_metrics_are_read_by_split(tmp_path):
    lines = [
        {"step": 2, "split": "train", "loss": 3.0},
        {"step": 2, "split": "validation", "nll": 5.0},
        {"step": 1, "split": "train", "loss": None, "nll": 4.0},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 3, "spl')  # a line that is being written
    found = learning_curves.read_metrics(tmp_path)
    np.testing.assert_array_equal(found["train"]["step"], [1, 2])
    np.testing.assert_array_equal(found["train"]["loss"], [np.nan, 3])
    np.testing.assert_array_equal(found["train"]["nll"], [4, np.nan])
    np.testing.assert_array_equal(found["validation"]["nll"], [5])


def test_missing_metrics(tmp_path):
    with pytest.raises(UserError, match=r"metrics.jsonl: does not exist. Give the --workdir of a training run"):
        learning_curves.read_metrics(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match=r"holds no metrics yet"):
        learning_curves.read_metrics(tmp_path)


def test_running_mean_leaves_missing_values_out():
    values = np.array([np.nan, 2.0, 4.0, np.nan, 9.0, 1.0])
    expected = [np.nan, 2, 3, 3, 6.5, 5]
    np.testing.assert_allclose(learning_curves.running_mean(values, 3), expected)
    np.testing.assert_allclose(learning_curves.running_mean(values[1:3], 1), [2, 4])

"""Likelihood by position in a set, against the dense joint Gaussian."""

import types

import numpy as np

from exflow.config import base_config
from exflow.data.registry import group_by_class
from experiments import nll
from experiments.subject import Subject
from tests.evaluation.toy import toy_model, toy_params
from tests.evaluation.toy_data import joint_log_prob


def test_positions_average_only_the_sets_that_reach_them():
    count = [3, 2, 3]
    labels = np.repeat(np.arange(3), count).astype(np.int32)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 2, 2, 1)).astype(np.uint8)
    params = toy_params(4)
    model = types.SimpleNamespace(core=toy_model(), params=params, encode=None)
    subject = Subject(model, base_config("bruno"), {"test": group_by_class(images, labels)}, seed=0)
    mean, error, number = nll.by_position(subject, "test", set_size=5)  # more than any class has

    elements = subject.encode_split("test").z[:, 0]
    log_det = 4 * np.log(4 / 256)
    rows = nll.likelihood.draw_sets(np.array(count), 1, 3, 5, seed=0)
    found: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for row, mask in zip(rows.rows, rows.mask, strict=True):
        z = np.asarray(elements).reshape(-1, 4)[row[mask]]
        joint = [0.0, *(joint_log_prob(z[:n], params) + n * log_det for n in range(1, len(z) + 1))]
        for place, value in enumerate(-np.diff(joint)):
            found[place].append(value)
    assert number.tolist() == [3, 3, 2]
    np.testing.assert_allclose(mean, [np.mean(values) for values in found.values()], rtol=1e-5)
    expected = [np.std(values, ddof=1) / len(values) ** 0.5 for values in found.values()]
    np.testing.assert_allclose(error, expected, rtol=1e-3)

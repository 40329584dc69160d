"""Which of many classes a picture shows."""

import numpy as np
import pytest

from exflow.evaluation.spread import evenly_spread
from experiments.samples import MAX_SHOWN


@pytest.mark.parametrize(
    ("length", "number", "chosen"),
    [(7, 3, [0, 3, 6]), (5, 2, [0, 4]), (4, 1, [0]), (3, 9, [0, 1, 2]), (6, 4, [0, 1, 3, 5]), (3, 0, []), (0, 3, [])],
)
def test_the_first_the_last_and_evenly_between(length, number, chosen):
    np.testing.assert_array_equal(evenly_spread(10 + np.arange(length), number), 10 + np.asarray(chosen, int))


def test_rows_and_the_classes_of_samples():
    np.testing.assert_array_equal(evenly_spread(np.arange(10).reshape(5, 2), 3), [[0, 1], [4, 5], [8, 9]])
    shown = evenly_spread(np.arange(584), MAX_SHOWN)  # all test characters: a picture that can be looked at
    assert (len(shown), shown[0], shown[-1]) == (24, 0, 583)
    assert set(np.diff(shown)) == {25, 26}

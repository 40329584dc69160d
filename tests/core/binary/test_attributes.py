"""Directions of attributes: the original's threshold, tests of significance, strength and removal."""

import numpy as np
import pytest
from scipy import stats

from exflow.core.binary.attributes import (
    Direction,
    apply_direction,
    conditional_direction,
    contrast_direction,
    strongest,
)
from exflow.errors import UserError

NUM, NUM_BITS = 4000, 40
RNG = np.random.default_rng(0)
LABELS = RNG.random(NUM) < 0.2
SHARE = np.full(NUM_BITS, 0.5)
SHARE[20:] = 0.9  # mostly set, with or without the attribute
SHIFT = np.zeros(NUM_BITS)
SHIFT[:3] = 0.3, -0.2, 0.15
CODES = RNG.random((NUM, NUM_BITS)) < SHARE + SHIFT * LABELS[:, None]


def test_conditional_means_beyond_the_threshold():
    direction = conditional_direction(CODES, LABELS)
    mean = 2 * CODES[LABELS].mean(axis=0) - 1
    np.testing.assert_allclose(direction.effect, mean, atol=1e-14)
    np.testing.assert_array_equal(direction.chosen, np.abs(mean) > 0.12)
    assert direction.chosen[20:].all()  # also what has nothing to do with the attribute
    edited = apply_direction(CODES, direction)
    np.testing.assert_array_equal(edited[:, direction.chosen], np.tile((mean > 0)[direction.chosen], (NUM, 1)))
    np.testing.assert_array_equal(edited[:, ~direction.chosen], CODES[:, ~direction.chosen])


def test_contrasts_choose_what_is_significant():
    direction = contrast_direction(CODES, LABELS)
    np.testing.assert_array_equal(np.flatnonzero(direction.chosen), [0, 1, 2])
    np.testing.assert_array_equal(direction.effect[:3] > 0, [True, False, True])
    for i in (0, 2, 7, 30):
        table = [[CODES[group, i].sum(), (~CODES[group, i]).sum()] for group in (LABELS, ~LABELS)]
        p_value = stats.chi2_contingency(table, correction=False).pvalue  # the square of the z-test
        for level in (0.9 * p_value, 1.1 * p_value):
            chosen = contrast_direction(CODES, LABELS, level * NUM_BITS).chosen[i]
            assert chosen == (p_value < level)


def test_bits_that_never_change_are_never_significant():
    codes = CODES.copy()
    codes[:, 4] = True
    direction = contrast_direction(codes, LABELS)
    assert (direction.effect[4], direction.chosen[4]) == (0, False)


def test_number_of_bits_strength_and_removal():
    direction = contrast_direction(CODES, LABELS, num_bits=2)
    np.testing.assert_array_equal(np.flatnonzero(direction.chosen), [0, 1])
    whole = contrast_direction(CODES, LABELS)
    np.testing.assert_array_equal(strongest(whole, 7).chosen, whole.chosen)
    assert not strongest(whole, 0).chosen.any()
    some = apply_direction(CODES, whole, 1 / 3)
    assert some[:, 0].all()
    np.testing.assert_array_equal(some[:, 1:], CODES[:, 1:])
    removed = apply_direction(CODES, whole, -1.0)
    np.testing.assert_array_equal(removed[:, :3], np.tile([False, True, False], (NUM, 1)))
    np.testing.assert_array_equal(removed[:, 3:], CODES[:, 3:])
    np.testing.assert_array_equal(apply_direction(CODES, whole, 0.0), CODES)


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="labels: expected codes with the attribute, got none"):
        conditional_direction(CODES, np.zeros(NUM, bool))
    with pytest.raises(UserError, match="labels: expected codes without the attribute, got none"):
        contrast_direction(CODES, np.ones(NUM, bool))
    with pytest.raises(UserError, match=r"strength: expected a number in \[-1, 1\], got 2.0"):
        apply_direction(CODES, Direction(np.ones(NUM_BITS), np.ones(NUM_BITS, bool)), 2.0)

"""Codes drawn by every method: the moments that each must have, paths between training codes, and completions."""

import functools

import jax
import numpy as np
import pytest

from exflow.errors import UserError
from exflow.model import FittedCodes, TrainingCodes
from exflow.models.lbae import gaussian_mixture
from exflow.models.lbae.interpolation import FORMS, STEPS, interpolate_bits, interpolate_numbers
from exflow.models.lbae.sampler import BITS, KINDS, complete_bits, draw_bits, draw_numbers, fit_bits, fit_numbers

RNG = np.random.default_rng(0)
CLUSTERS = RNG.uniform(0.1, 0.9, (3, 6))
CODES = RNG.random((3_000, 6)) < CLUSTERS[RNG.integers(0, 3, 3_000)]
KEY, NUM = jax.random.key(0), 20_000
TOLERANCE = 5 / np.sqrt(NUM)


@functools.cache
def fitted_to_codes(method):
    return fit_bits(CODES, method)


@pytest.mark.parametrize("method", ["threshold", "cov", "independent", "mixture", "autoregressive"])
def test_means_are_those_of_the_codes(method):
    drawn = draw_bits(fitted_to_codes(method), KEY, NUM, method)
    assert (drawn.shape, drawn.dtype) == ((NUM, 6), bool)
    np.testing.assert_allclose(2 * drawn.mean(axis=0), 2 * CODES.mean(axis=0), atol=TOLERANCE)


@pytest.mark.parametrize("method", ["threshold", "cov", "autoregressive"])
def test_pairs_are_those_of_the_codes(method):
    drawn = draw_bits(fitted_to_codes(method), KEY, NUM, method)
    signs, given = 2.0 * drawn - 1, 2.0 * CODES - 1
    np.testing.assert_allclose(signs.T @ signs / NUM, given.T @ given / len(given), atol=2 * TOLERANCE)


def test_random_bits_are_fair():
    drawn = draw_bits(fitted_to_codes("random"), KEY, NUM, "random")
    np.testing.assert_allclose(2 * drawn.mean(axis=0) - 1, 0, atol=TOLERANCE)


def test_paths_begin_and_end_in_training_codes():
    drawn = draw_bits(fitted_to_codes("int"), KEY, 3 * (STEPS + 2) + 5, "int")
    assert drawn.shape == (3 * (STEPS + 2) + 5, 6)
    known = {code.tobytes() for code in CODES}
    ends = [drawn[place] for row in range(3) for place in (row * (STEPS + 2), row * (STEPS + 2) + STEPS + 1)]
    assert all(code.tobytes() in known for code in ends)
    few = draw_bits(fit_bits(CODES[:5], "int"), KEY, 100, "int")  # two pairs, again and again
    assert few.shape == (100, 6)


@pytest.mark.parametrize("form", FORMS)
def test_ways_between_codes(form):
    fits = {method: fitted_to_codes(method) for method in FORMS.values()}
    fitted = FittedCodes(fits.__getitem__, lambda: TrainingCodes(CODES, np.zeros(3_000, int), np.zeros((3_000, 0))))
    begin, end = CODES[:20], CODES[20:40]
    path = interpolate_bits(fitted, begin, end, 7, 0, form)
    assert path.shape == (7, 20, 6)
    missed = [(path[0] != begin).mean(), (path[-1] != end).mean()]
    assert missed == [0, 0] if form == "orthant" else max(missed) < 0.4
    steps = (path[1:] != path[:-1]).sum(axis=-1)
    assert steps.max() < 6  # not all at once


def test_numbers_go_straight():
    begin, end = RNG.normal(size=(2, 4, 3)).astype(np.float32)
    path = interpolate_numbers(FittedCodes(None, None), begin, end, 5, 0, "")
    np.testing.assert_allclose(path[1], 0.75 * begin + 0.25 * end, rtol=1e-6)
    np.testing.assert_array_equal(path[[0, -1]], np.stack([begin, end]))


@pytest.mark.parametrize("method", KINDS)
def test_completions_keep_what_is_known(method):
    known = np.array([True, True, False, False, True, False])
    found = complete_bits(fitted_to_codes(method), CODES[:50], known, 0, method)
    np.testing.assert_array_equal(found[:, known], CODES[:50, known])
    assert (found[:, ~known] != CODES[:50, ~known]).any()


def test_methods_without_a_conditional_distribution():
    assert set(BITS) - set(KINDS) == {"random", "int"}
    with pytest.raises(UserError, match="complete: expected one of threshold, .*, got 'random'"):
        complete_bits({}, CODES[:1], np.ones(6, bool), 0, "random")


def test_numbers():
    pytest.importorskip("sklearn")
    codes = np.concatenate([RNG.normal(-3, 0.5, (500, 2)), RNG.normal(3, 1.0, (1_500, 2))]).astype(np.float32)
    for method in ("mixture", "gaussian"):
        drawn = draw_numbers(fit_numbers(codes, method), KEY, NUM, method)
        np.testing.assert_allclose(drawn.mean(axis=0), codes.mean(axis=0), atol=5 * 3 / np.sqrt(2_000))
        np.testing.assert_allclose(np.cov(drawn.T), np.cov(codes.T), rtol=0.1)
    two = gaussian_mixture.fit(codes, 2)
    np.testing.assert_allclose(np.sort(two["weights"]), [0.25, 0.75], atol=0.02)
    prior = draw_numbers(fit_numbers(codes, "prior"), KEY, NUM, "prior")
    np.testing.assert_allclose(np.cov(prior.T), np.eye(2), atol=0.05)
    with pytest.raises(UserError, match="codes: expected at least 2, got 1"):
        gaussian_mixture.fit(codes[:1], 1)

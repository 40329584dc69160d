"""Properties that all kinds of models share: draws, completions, structures and files."""

import functools

import jax
import numpy as np
import pytest

from exflow.core.binary import files
from exflow.core.binary.model import from_arrays, to_arrays
from exflow.core.binary.moments import moments_of
from exflow.core.binary.registry import KINDS, binary_model
from exflow.errors import UserError
from tests.core.binary.cases import all_codes, index_of, probabilities, weakly_dependent

NUM_BITS, NUM_DRAWS = 4, 5000
CODES = weakly_dependent(3000, NUM_BITS, seed=2)


@functools.cache
def fitted_case(kind):
    model = binary_model(kind, num_components=3)
    fitted = model.fit(CODES, 0)
    return model, fitted, probabilities(model, fitted, NUM_BITS)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_have_the_probabilities_of_the_model(kind):
    model, fitted, probability = fitted_case(kind)
    np.testing.assert_allclose(probability.sum(), 1.0, atol=1e-4)
    draws = np.asarray(model.sample(fitted, jax.random.key(1), NUM_DRAWS))
    found = np.bincount(index_of(draws), minlength=2**NUM_BITS) / NUM_DRAWS
    error = np.sqrt(probability * (1 - probability) / NUM_DRAWS)
    assert (np.abs(found - probability) < 5 * error + 1e-4).all()
    if model.expected_moments is not None:
        expected = model.expected_moments(fitted)
        for part, other in zip(moments_of(draws), expected, strict=True):
            np.testing.assert_allclose(part, other, atol=5 / np.sqrt(NUM_DRAWS))


@pytest.mark.parametrize("kind", KINDS)
def test_completions_have_the_conditional_probabilities(kind):
    model, fitted, probability = fitted_case(kind)
    known = np.array([True, False, True, False])
    given = np.array([True, False, False, True])
    codes = np.tile(given, (NUM_DRAWS, 1))
    completed = model.complete(fitted, codes, known, 7, 20)
    np.testing.assert_array_equal(completed[:, known], codes[:, known])
    fits = (all_codes(NUM_BITS)[:, known] == given[known]).all(axis=1)
    conditional = np.where(fits, probability, 0) / probability[fits].sum()
    found = np.bincount(index_of(completed), minlength=2**NUM_BITS) / NUM_DRAWS
    error = np.sqrt(conditional * (1 - conditional) / NUM_DRAWS)
    assert (np.abs(found - conditional) <= 5 * error + 1e-3 * fits).all()
    again = model.complete(fitted, codes, known, 7, 20)
    np.testing.assert_array_equal(again, completed)


@pytest.mark.parametrize("kind", KINDS)
def test_all_known_and_none_known(kind):
    model, fitted, probability = fitted_case(kind)
    everything = np.ones(NUM_BITS, bool)
    np.testing.assert_array_equal(model.complete(fitted, CODES[:50], everything, 0, 3), CODES[:50])
    free = model.complete(fitted, CODES[:NUM_DRAWS], ~everything, 0, 10)
    found = np.bincount(index_of(free), minlength=2**NUM_BITS) / len(free)
    assert (np.abs(found - probability) < 5 * np.sqrt(probability / len(free)) + 1e-3).all()


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_files_and_dictionaries(kind, tmp_path):
    model, fitted, _ = fitted_case(kind)
    assert {name: array.shape for name, array in to_arrays(fitted).items()} == model.shapes(NUM_BITS)
    assert {array.dtype for array in fitted} == {np.dtype(np.float64)}
    files.save(tmp_path / "model.npz", model, fitted)
    for stored in (files.load(tmp_path / "model.npz", model), from_arrays(model, to_arrays(fitted))):
        assert type(stored) is model.fitted_type
        for array, same in zip(stored, fitted, strict=True):
            np.testing.assert_array_equal(array, same)


def test_what_is_of_another_kind_is_refused(tmp_path):
    model, fitted, _ = fitted_case("independent")
    files.save(tmp_path / "model.npz", model, fitted)
    with pytest.raises(UserError, match="expected what was fitted of kind mixture, got independent"):
        files.load(tmp_path / "model.npz", binary_model("mixture"))
    with pytest.raises(UserError, match="arrays: expected those of mixture"):
        from_arrays(binary_model("mixture"), to_arrays(fitted))
    with pytest.raises(UserError, match="kind: expected one of flip, threshold, .*, got gauss"):
        binary_model("gauss")
    with pytest.raises(UserError, match="repair: expected one of higham88, .*, got clip"):
        binary_model("flip", repair="clip")


@pytest.mark.parametrize("kind", KINDS)
def test_one_bit_and_one_code(kind):
    model = binary_model(kind, num_components=3)
    for codes in (CODES[:200, :1], CODES[:1]):
        fitted = model.fit(codes)
        assert {name: array.shape for name, array in to_arrays(fitted).items()} == model.shapes(codes.shape[1])
        assert all(np.isfinite(array).all() for array in fitted)
        assert model.sample(fitted, jax.random.key(0), 2).shape == (2, codes.shape[1])
    if model.log_prob is not None:
        found = np.exp(model.log_prob(model.fit(CODES[:200, :1]), np.ones((1, 1), bool)))
        np.testing.assert_allclose(found, CODES[:200, 0].mean(), atol=0.01)  # priors add a few observations

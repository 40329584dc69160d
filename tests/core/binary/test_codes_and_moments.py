"""Forms of codes, and moments that no split into batches changes."""

import numpy as np
import pytest

from exflow.core.binary import moments
from exflow.core.binary.codes import PackedBits, as_bits, as_signs, pack, unpack
from exflow.errors import UserError
from tests.core.binary.cases import clustered

CODES = clustered(1000, 13, 3)


@pytest.mark.parametrize("shape", [(5, 16), (3, 2, 13), (0, 7), (1,)])
def test_packed_bits_come_back(shape):
    codes = np.random.default_rng(0).random(shape) < 0.5
    packed = pack(codes)
    assert packed.packed.shape == (*shape[:-1], -(-shape[-1] // 8))
    np.testing.assert_array_equal(unpack(packed), codes)


def test_all_forms_are_the_same_bits():
    forms = CODES, as_signs(CODES), as_signs(CODES).astype(np.int8), CODES.astype(np.uint8), pack(CODES)
    for form in forms:
        np.testing.assert_array_equal(as_bits(form), CODES)


@pytest.mark.parametrize("values", [[0, 2], [-1, 0, 1], [0.5, 1], [np.nan, 1.0]])
def test_other_values_are_refused(values):
    with pytest.raises(UserError, match="codes: expected booleans, {0, 1} or {-1, \\+1}, got other values."):
        as_bits(np.array(values))


def test_moments_are_those_of_signs():
    signs = np.where(CODES, 1.0, -1.0)
    found = moments.moments_of(CODES)
    np.testing.assert_allclose(found.mean, signs.mean(axis=0), atol=1e-15)
    np.testing.assert_allclose(found.second, signs.T @ signs / len(signs), atol=1e-15)
    np.testing.assert_array_equal(np.diagonal(found.second), 1.0)


def test_any_split_any_form_and_any_order_give_the_same(monkeypatch):
    whole = moments.moments_of(CODES)
    monkeypatch.setattr(moments, "ROWS", 64)
    streamed = moments.no_counts(13)
    for part in np.split(CODES, [1, 1, 300, 999]):
        streamed = moments.count(streamed, as_signs(part))
    first, second = (moments.count(moments.no_counts(13), pack(part)) for part in (CODES[700:], CODES[:700]))
    for counts in (streamed, moments.merge_counts(first, second)):
        assert counts.num == 1000
        for part, same in zip(moments.moments_of_counts(counts), whole, strict=True):
            np.testing.assert_array_equal(part, same)


def test_no_codes_have_no_moments():
    empty = moments.count(moments.no_counts(3), PackedBits(np.zeros((0, 1), np.uint8), 3))
    with pytest.raises(UserError, match="codes: expected at least one, got none"):
        moments.moments_of_counts(empty)

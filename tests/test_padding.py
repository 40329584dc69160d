"""Encoding for the Python API: stacks of images that share calls."""

import jax
import numpy as np
import pytest

from exflow import padding
from tests.evaluation.toy import toy_model, toy_params


@pytest.mark.parametrize("noise", [False, True])
def test_two_stacks_are_encoded_as_each_on_its_own(noise, monkeypatch):
    model, params, rng, rows = toy_model(), toy_params(4), np.random.default_rng(0), []
    stacks = [rng.integers(0, 256, (number, *model.image_shape), np.uint8) for number in (5, 3)]
    keys = [jax.random.key(seed) if noise else None for seed in range(2)]
    expected = [padding.encode(model, params, x, key, None) for x, key in zip(stacks, keys, strict=True)]
    encode_batch = padding.encode_batch

    def counted(model, params, key, seeds, x, context):
        rows.append(len(x))
        return encode_batch(model, params, key, seeds, x, context)

    monkeypatch.setattr(padding, "encode_batch", counted)
    found = padding.encode_both(model, params, *((x, key, None) for x, key in zip(stacks, keys, strict=True)))
    assert rows == ([8, 2, 2] if noise else [8])  # on two devices
    for some, other, x in zip(found, expected, stacks, strict=True):
        for a, b in zip(jax.tree.leaves(some), jax.tree.leaves(other), strict=True):
            assert len(a) == len(x)
            np.testing.assert_allclose(a, b, rtol=1e-6)

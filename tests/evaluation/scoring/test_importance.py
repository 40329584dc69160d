"""Streamed importance weights: the same numbers however they are divided, in memory that no number of draws changes."""

import functools

import jax
import numpy as np
import pytest
from jax.scipy.special import logsumexp

from exflow.evaluation.scoring import latents as latent_chunks
from exflow.evaluation.scoring.importance import importance
from exflow.models import latent_bounds
from exflow.models.registry import build
from tests.evaluation.linear_gaussian import WORK_BYTES, data, divergence, linear_gaussian, log_evidence, parameters
from tests.models.parameters import random_params
from tests.models.registry import TINY_VECTORS, small_config

SHAPE, KEY = (1, 1, 2), jax.random.key(5)
VALUES = np.random.default_rng(0).normal(size=(5, 3, *SHAPE)).astype(np.float32)
MASK = np.asarray([[True] * 3, [True, False, True], [True, True, False], [True] * 3, [False, False, True]])


@functools.cache
def tiny(levels="top"):
    config = small_config(**TINY_VECTORS, model__set_vae__set_latent_levels=levels)
    model = build(config, SHAPE)
    return model, random_params(model, config)


@pytest.mark.slow
@pytest.mark.parametrize("levels", ["top", "none"])
def test_numbers_do_not_depend_on_chunks(levels, monkeypatch):
    model, params = tiny(levels)
    whole = importance(model, params, VALUES, KEY, 7, mask=MASK)
    work_bytes = model.sets.work_bytes
    monkeypatch.setitem(latent_chunks.CHUNK_BYTES, "cpu", 3 * work_bytes)  # one set and draw per device and call
    devices = len(jax.local_devices())
    assert latent_chunks.per_call(model, VALUES.shape, 7) == (devices, 1)
    parts = importance(model, params, VALUES, KEY, 7, mask=MASK)
    for name in whole._fields:
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=2e-4, err_msg=name)
    np.testing.assert_allclose(parts.bound, whole.bound, rtol=1e-5)
    assert (whole.elbo < whole.bound).all()
    assert (whole.effective_sample_size >= 1).all()
    assert (whole.effective_sample_size <= 7 + 1e-4).all()


@pytest.mark.slow
def test_padding_and_company_change_nothing():
    model, params = tiny()
    padded = np.concatenate([VALUES, np.full_like(VALUES[:, :1], 7.0)], axis=1)
    mask = np.concatenate([MASK, np.zeros_like(MASK[:, :1])], axis=1)
    alone = importance(model, params, VALUES[1:2], KEY, 4, mask=MASK[1:2])
    together = importance(model, params, padded, KEY, 4, mask=mask)
    np.testing.assert_allclose(together.bound[1], alone.bound[0], rtol=1e-5)


@pytest.mark.slow
def test_the_weights_are_those_of_the_model():
    model, params = tiny()
    found = importance(model, params, VALUES, KEY, 6)
    elements = jax.jit(model.latents.encode_values)(params, VALUES)
    keys, every = jax.random.split(KEY, 6), np.ones(MASK.shape, bool)
    weights = jax.jit(latent_bounds.log_weights, static_argnums=0)(model.latents, params, keys, elements, every)
    np.testing.assert_allclose(found.bound, logsumexp(weights, axis=0) - np.log(6), rtol=1e-5)
    np.testing.assert_allclose(found.elbo, np.asarray(weights).mean(axis=0), rtol=1e-5)


@pytest.mark.slow
def test_five_thousand_draws_take_the_memory_of_a_few():
    model, params = tiny()
    shapes = []

    def infer(params, element_set, mask, key, *more):
        shapes.append((mask.shape, key.shape))
        return model.latents.infer(params, element_set, mask, key, *more)

    traced = model._replace(latents=model.latents._replace(infer=infer))
    traced = traced._replace(sets=model.sets._replace(work_bytes=2**19))  # 32 draws per call and not all at once
    few = latent_chunks.per_call(traced, VALUES.shape, 50)
    assert few == latent_chunks.per_call(traced, VALUES.shape, 5_000)
    found = importance(traced, params, VALUES, KEY, 5_000, mask=MASK)
    fewer = importance(traced, params, VALUES, KEY, 50, mask=MASK)
    assert len(shapes) == 1  # one program for all draws
    assert (found.bound > fewer.elbo).all()
    assert (found.standard_error < fewer.standard_error).all()


def test_bounds_of_a_model_whose_evidence_is_known(monkeypatch):
    """The posterior is 2.5 times too wide: one draw's bound is loose by its divergence, that of 2,500 by nothing."""
    model, params, values = linear_gaussian(), parameters(), data(100)
    exact, found = log_evidence(values), importance(model, params, values, KEY, 2_500)
    assert abs((found.bound - exact).mean()) < 0.01
    np.testing.assert_allclose((exact - found.elbo).mean(), divergence(values), atol=0.01)
    assert (found.elbo < found.bound).all()
    whole = importance(model, params, values, KEY, 200)
    monkeypatch.setitem(latent_chunks.CHUNK_BYTES, "cpu", 320 * WORK_BYTES)
    assert latent_chunks.per_call(model, values.shape, 200) == (40, 16)
    in_chunks = importance(model, params, values, KEY, 200)
    for name in whole._fields:
        np.testing.assert_allclose(getattr(in_chunks, name), getattr(whole, name), rtol=1e-4, err_msg=name)

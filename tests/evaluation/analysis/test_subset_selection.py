"""Greedy summaries against leave-one-out recomputation with the subsets themselves; streams of means against sets."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core import set_statistics
from exflow.core.latents.elements import SeenElements
from exflow.evaluation.analysis.subset_selection import divergences, known_by_mean, summarize
from exflow.models.registry import build
from tests.models.parameters import in_float64, random_params
from tests.models.registry import ALL_LEVELS, ATTENTION, TINY_VECTORS, small_config
from tests.models.test_set_models import images

MODELS = {"mean": {}, "attention": ATTENTION, "two_levels": ALL_LEVELS}  # downdates, and what needs all elements


@functools.cache
def prepared(name):
    """Model, random float32 parameters, and the elements of two sets of six points."""
    config = small_config(**TINY_VECTORS, **MODELS[name])
    model = build(config, (1, 1, 2))
    with jax.enable_x64(False):
        params = random_params(model, config)
        elements = jax.jit(model.encode)(params, None, 2 * images(2, 6, seed=5, shape=model.image_shape))
    return model, params, elements


@functools.cache
def compiled_posteriors(name):
    return jax.jit(prepared(name)[0].latents.set_posteriors)


def posteriors(name, params, elements, subsets):
    """Mean and log-variance [subset, latent] of all latents of sets of equal size, from rows of one set of elements."""
    chosen = jax.tree.map(lambda leaf: leaf[np.array(subsets)], elements)
    found = compiled_posteriors(name)(params, SeenElements(chosen, jnp.ones(np.shape(subsets), bool)))
    return [np.concatenate([np.reshape(q[at], (len(subsets), -1)) for q in found], axis=1) for at in range(2)]


def exhaustive(name, params, elements, rows, num_kept):
    """Removed elements and divergences; the posterior of every subset is that of the elements it holds."""
    mean, log_variance = posteriors(name, params, elements, [rows])
    removed, smallest = [], []
    while len(rows) > num_kept:
        subsets = [[other for other in rows if other != row] for row in rows]
        p_mean, p_log_variance = posteriors(name, params, elements, subsets)
        ratio = np.exp(log_variance - p_log_variance)
        divergence = 0.5 * (ratio - 1 - np.log(ratio) + (mean - p_mean) ** 2 / np.exp(p_log_variance)).sum(axis=1)
        best = divergence.argmin()
        removed, smallest, rows = [*removed, rows[best]], [*smallest, divergence[best]], subsets[best]
    return rows, removed, smallest


@functools.cache
def in_double(name):
    """Everything in float64, so that ties and rounding decide nothing; element 2 of the second set does not exist."""
    model, params, elements = prepared(name)
    mask = np.ones((2, 6), bool)
    mask[1, 2] = False
    elements = jax.tree.map(lambda leaf: leaf if leaf.dtype == jnp.uint32 else jnp.asarray(leaf, jnp.float64), elements)
    return model, in_float64(params), elements, mask


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_same_subsets_as_exhaustive_leave_one_out(x64, name):
    model, params, elements, mask = in_double(name)
    result = summarize(model, params, elements, jnp.asarray(mask), 4)
    last = divergences(model, params, elements, jnp.asarray(mask), result.kept[:, None])[:, 0]
    np.testing.assert_allclose(last, [result.divergence[0, 1], result.divergence[1, 0]], rtol=1e-8)
    for at, padding in ((0, []), (1, [-1])):
        one = jax.tree.map(lambda leaf, at=at: leaf[at], elements)
        kept, removed, smallest = exhaustive(name, params, one, list(np.flatnonzero(mask[at])), 4)
        np.testing.assert_array_equal(np.flatnonzero(result.kept[at]), kept)
        np.testing.assert_array_equal(result.removed[at], removed + padding)
        np.testing.assert_allclose(result.divergence[at], smallest + [np.nan] * len(padding), rtol=1e-8)


def test_order_and_padding_change_nothing(x64):
    model, params, elements, mask = in_double("mean")
    result = summarize(model, params, elements, jnp.asarray(mask), 4)
    order = np.array([3, 1, 5, 0, 2, 4])

    def shuffled(leaf):
        leaf = np.asarray(leaf)[:, order].copy()
        leaf[1, 4] = np.nan if leaf.dtype == np.float64 else 7  # where element 2 went
        return jnp.asarray(leaf)

    again = summarize(model, params, jax.tree.map(shuffled, elements), jnp.asarray(mask[:, order]), 4)
    np.testing.assert_array_equal(again.kept, result.kept[:, order])
    np.testing.assert_array_equal(np.where(again.removed < 0, -1, order[again.removed]), result.removed)
    np.testing.assert_allclose(again.divergence, result.divergence, rtol=1e-9)


def test_streams_that_add_remove_and_merge_means_have_the_posterior_of_the_set():
    model, params, elements = prepared("mean")
    mean_features = model.latents.mean_features
    features = mean_features.of(elements)
    start, one, two = (
        set_statistics.init("mean", features.shape[2:], (2,)),
        jnp.ones((2, 1), bool),
        jnp.ones((2, 2), bool),
    )
    state = start
    for at in range(4):
        state = set_statistics.update(state, features[:, at : at + 1], one)
    state = set_statistics.remove(state, features[:, 2:3], one)
    state = set_statistics.merge(state, set_statistics.update(start, features[:, 4:], two))
    any_element = jax.tree.map(lambda leaf: leaf[:, 2], elements)
    streamed = known_by_mean(mean_features, any_element, set_statistics.finalize(state))
    whole = SeenElements(elements, jnp.asarray([[True, True, False, True, True, True]] * 2))
    (found,), (expected,) = (compiled_posteriors("mean")(params, state) for state in (streamed, whole))
    for part, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-5, atol=1e-6)


def test_what_has_no_summary():
    model, params, elements = prepared("mean")
    mask = jnp.ones((2, 6), bool)
    with pytest.raises(ValueError, match="num_kept: expected at least 1, got 0. The empty set says nothing."):
        summarize(model, params, elements, mask, 0)
    with pytest.raises(ValueError, match="model: expected a set VAE, got set_vae .*. Only these have a latent of the"):
        summarize(model._replace(latents=None), params, elements, mask, 2)

"""Probes on data whose answers are known, and posterior means of a model against those of single sets."""

import jax
import jax.numpy as jnp
import numpy as np

from exflow.core.latents.elements import SeenElements
from exflow.data.registry import ImageSets
from exflow.evaluation.analysis import context_probes
from tests.evaluation.analysis.test_subset_selection import compiled_posteriors, prepared


def test_regression_explains_what_is_a_function_of_the_input_and_nothing_else():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 3)) * [1, 5, 0.2] + [0, 30, 2]
    noise = rng.normal(size=3000)
    smooth = np.sin(x[:, 0]) * (x[:, 1] - 30)
    y = np.stack([smooth, smooth + smooth.std() * noise, noise], axis=1)
    r2 = context_probes.regression_r2(x[:2000], y[:2000], x[2000:], y[2000:], np.random.default_rng(1))
    assert r2[0] > 0.99
    np.testing.assert_allclose(r2[1], 0.5, atol=0.12)  # half of the variance is noise; 2,000 sets fit some of it
    assert abs(r2[2]) < 0.3


def test_whitened_inputs_are_uncorrelated_and_constant_directions_vanish():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 3)) + [5, 0, -3]  # in a plane
    white = context_probes.whitening(x)(x)
    np.testing.assert_allclose(np.cov(white, rowvar=False), np.diag([1, 1, 0]), atol=1e-9)
    spread = (x - x.mean(axis=0)) @ np.linalg.svd(x - x.mean(axis=0))[2][0]
    np.testing.assert_allclose(abs(np.corrcoef(white[:, 0], spread)[0, 1]), 1, rtol=1e-9)  # largest variance first


def test_neighbours_vote():
    train_x = np.array([[0.0], [0.1], [0.2], [0.3], [0.4], [9.0], [9.1], [9.2], [9.3], [9.4]])
    label = np.array([0, 0, 0, 2, 2, 1, 1, 2, 2, 2])
    agree = context_probes.neighbours_agree(train_x, label, np.array([[0.15], [9.25], [0.15]]), np.array([0, 2, 2]))
    np.testing.assert_array_equal(agree, [True, True, False])


def test_posterior_means_of_a_split_are_those_of_its_sets_alone(monkeypatch):
    model, params, _ = prepared("mean")
    images = np.random.default_rng(2).normal(size=(15, 1, 1, 2)).astype(np.float32)
    count = np.array([6, 4, 5], np.int32)
    index = np.zeros((3, 6), np.int32)
    for row, start in enumerate((0, 6, 10)):
        index[row, : count[row]] = np.arange(start, start + count[row])
    monkeypatch.setattr(context_probes, "ELEMENTS_PER_CALL", 12)  # two calls, the second half full
    means = context_probes.context_means(model, params, ImageSets(images, index, count, np.arange(3, dtype=np.int32)))
    for row in range(3):
        elements = jax.jit(model.encode)(params, None, jnp.asarray(images[index[row]]))
        state = SeenElements(elements, jnp.arange(6) < count[row])
        (expected,) = compiled_posteriors("mean")(params, state)
        np.testing.assert_allclose(means[row], expected.mean, rtol=1e-5, atol=1e-6)

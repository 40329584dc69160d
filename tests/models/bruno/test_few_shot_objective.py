"""The few-shot cross-entropy against loops over episodes, windows and queries."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core import gaussian_process
from exflow.models.bruno.few_shot_objective import few_shot_cross_entropy, random_subset
from tests.models.registry import small_config

NUM_CLASSES, SET_SIZE, DIM = 6, 4, 3
KEY = jax.random.key(0)


@functools.cache
def compiled(options):
    objective = small_config(**{f"objective__{name}": value for name, value in options}).objective
    return jax.jit(
        lambda params, key, z_set, mask: few_shot_cross_entropy(
            gaussian_process.PROCESS, params, key, z_set, mask, objective, 1.0
        )
    )


def cross_entropy(z_set, mask=None, key=KEY, **options):
    mask = jnp.ones(z_set.shape[:2], bool) if mask is None else mask
    return compiled(tuple(options.items()))(process_params(), key, z_set, mask)


def process_params():
    return gaussian_process.from_moments(jnp.zeros(DIM), jnp.ones(DIM), jnp.full(DIM, 0.4))


def latents():
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=(NUM_CLASSES, 1, DIM)) + 0.7 * rng.normal(size=(NUM_CLASSES, SET_SIZE, DIM)))


def log_posteriors(z_set, way, shot, num_windows):
    """{(class, window, element): log posterior of the right class} of every query, one update at a time."""
    params, found = process_params(), {}
    update, log_prob = jax.jit(gaussian_process.update), jax.jit(gaussian_process.predictive_log_prob)
    for window, episode in itertools.product(range(num_windows), range(NUM_CLASSES // way)):
        states = []
        for label in range(episode * way, episode * way + way):
            state = gaussian_process.init_state(params)
            for index in range(shot):
                state = update(params, state, z_set[label, (window + index) % SET_SIZE])
            states.append(state)
        for label, offset in itertools.product(range(way), range(shot, SET_SIZE)):
            element = (window + offset) % SET_SIZE
            z = z_set[episode * way + label, element]
            scores = [float(log_prob(params, state, z)) for state in states]
            found[episode * way + label, window, element] = scores[label] - np.logaddexp.reduce(scores)
    return found


def test_episodes_of_several_ways_and_shots(x64):
    z_set = latents()
    value, metrics = cross_entropy(z_set, ways=(3, 2), shots=(1, 2), supports_per_set=2)
    parts = {
        (way, shot): -np.mean(list(log_posteriors(z_set, way, shot, 2).values())) for way in (3, 2) for shot in (1, 2)
    }
    np.testing.assert_allclose(value, np.mean(list(parts.values())), rtol=1e-9)
    np.testing.assert_allclose(metrics["cross_entropy_1shot"], parts[3, 1], rtol=1e-9)


def test_one_query_per_episode_as_published(x64):
    z_set = latents()
    every = log_posteriors(z_set, 3, 1, 1)
    seen = set()
    for seed in range(20):
        options = {"ways": (3,), "shots": (1,), "supports_per_set": 1, "queries_per_episode": 1}
        value, _ = cross_entropy(z_set, key=jax.random.key(seed), **options)
        pairs = [  # one query of the first episode and one of the second
            (first, second)
            for first, second in itertools.product(every, every)
            if first[0] < 3 <= second[0] and np.isclose(value, -(every[first] + every[second]) / 2, rtol=1e-9)
        ]
        assert len(pairs) == 1
        seen.add(pairs[0][0][0])
    assert seen == {0, 1, 2}  # the right class is in any row


def test_random_subset_is_uniform_among_the_allowed():
    allowed = jnp.asarray([[True, False, True, True, False], [False, True, False, False, False]])
    counts = np.zeros(allowed.shape)
    for seed in range(300):
        chosen = random_subset(jax.random.key(seed), allowed, 2)
        assert not np.any(chosen & ~allowed)
        np.testing.assert_array_equal(chosen.sum(axis=1), [2, 1])
        counts += chosen
    np.testing.assert_allclose(counts[0, [0, 2, 3]], 200, atol=5 * np.sqrt(300 * 2 / 9))


@pytest.mark.parametrize("shot", [1, 3])
def test_masked_supports_and_queries_do_not_count(x64, shot):
    z_set = latents()
    mask = jnp.ones((NUM_CLASSES, SET_SIZE), bool).at[:, 3].set(False)
    options = {"shots": (shot,), "supports_per_set": 2, "ways": (2,)}
    first, _ = cross_entropy(z_set, mask, **options)
    second, _ = cross_entropy(z_set.at[:, 3].set(99.0), mask, **options)
    np.testing.assert_allclose(second, first, rtol=1e-12)

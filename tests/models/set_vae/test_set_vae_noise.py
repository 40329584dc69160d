"""Noise and masks of set VAEs: functions of what is in a set, not of places, copies or holes."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core.latents import bounds, diagonal_gaussian
from exflow.core.latents.seeds import content_seeds, distinct_seeds
from exflow.core.latents.trace import EXAMPLE, SET, Noise, draw
from exflow.model import sets_of
from exflow.models.latent_bounds import log_weights
from exflow.models.registry import build
from tests.models.parameters import shaken
from tests.models.registry import TINY_VECTORS, small_config
from tests.models.test_set_models import batch_of, images


def test_noise_follows_the_elements_and_not_their_places():
    seeds, key = jnp.asarray([[3, 5, 9]], jnp.uint32), jax.random.key(0)
    order, mask = np.array([2, 0, 1]), jnp.ones((1, 3), bool)
    elements = diagonal_gaussian.standard((1, 3, 4))
    straight = draw(Noise(key, seeds, mask), elements, 1, EXAMPLE)
    np.testing.assert_array_equal(draw(Noise(key, seeds[:, order], mask), elements, 1, EXAMPLE), straight[:, order])
    sets = diagonal_gaussian.standard((1, 4))
    one = draw(Noise(key, seeds, mask), sets, 1, SET)
    np.testing.assert_array_equal(draw(Noise(key, seeds[:, order], mask), sets, 1, SET), one)
    padded = Noise(key, jnp.concatenate([seeds, seeds], axis=1), jnp.asarray([[True] * 3 + [False] * 3]))
    np.testing.assert_array_equal(draw(padded, sets, 1, SET), one)
    others = {float(draw(Noise(key, seeds, mask), sets, level, SET)[0, 0]) for level in range(5)}
    assert len(others) == 5


def test_seeds_of_different_elements_differ():
    x = np.random.default_rng(0).integers(0, 2, (5_000, 28, 28, 1)).astype(np.float32)
    seeds = np.asarray(content_seeds(jnp.asarray(x)))
    assert len(np.unique(seeds)) == 5_000
    for bit in range(32):  # every bit of a seed is used: 5,000 coins are within 5 standard errors of fair
        assert abs((seeds >> bit & 1).mean() - 0.5) < 0.036
    changed = x[:1].copy()
    changed[0, 3, 4, 0] = 1 - changed[0, 3, 4, 0]
    assert content_seeds(jnp.asarray(x[:1]))[0] != content_seeds(jnp.asarray(changed))[0]


def test_seeds_of_equal_elements_are_numbered():
    seeds = np.random.default_rng(0).integers(0, 4, (20, 12)).astype(np.uint32)
    mask = np.random.default_rng(1).random((20, 12)) < 0.7
    found = np.asarray(jax.jit(distinct_seeds)(jnp.asarray(seeds), jnp.asarray(mask)))
    for row, there, numbered in zip(seeds, mask, found, strict=True):
        assert len(np.unique(numbered)) == 12
        for value in range(4):  # of those that exist, the first has the seed itself and the others follow
            ranks = (numbered[there & (row == value)] - np.uint32(value)) * np.uint32(pow(0x9E3779B1, -1, 2**32))
            np.testing.assert_array_equal(ranks, np.arange(len(ranks)))


def test_sets_with_one_more_element_share_the_noise_of_the_set():
    dist = diagonal_gaussian.standard((1, 6))
    seeds = jnp.asarray([[7, 3, 9, 5]], jnp.uint32)
    noise = [Noise(jax.random.key(0), part) for part in (seeds[:, :3], seeds, seeds[:, ::-1])]
    first, *others = (draw(one, dist, 0, SET) for one in noise)
    for other in others:
        np.testing.assert_array_equal(other, first)
    without_smallest = Noise(jax.random.key(0), seeds, jnp.asarray([[True, False, True, True]]))
    assert not np.allclose(draw(without_smallest, dist, 0, SET), first)


@pytest.mark.slow
def test_masked_elements_have_no_gradient_and_no_influence_in_training(statistician):
    model, params, x_set = statistician
    mask = jnp.asarray([[True] * 3 + [False] * 2] * 4)

    def loss(x_set):
        return model.loss(params, jax.random.key(2), batch_of(x_set)._replace(mask=mask))[0]

    other = x_set.at[:, 3:].set(7.0)
    np.testing.assert_allclose(loss(other), loss(x_set), rtol=1e-5)
    np.testing.assert_array_equal(jax.grad(loss)(x_set)[:, 3:], 0.0)
    assert np.abs(jax.grad(loss)(x_set)[:, :3]).min() > 0


@pytest.mark.slow
def test_equal_elements_have_latents_of_their_own(statistician):
    """With shared ones an importance-weighted bound on a set of copies would exceed log p, here by eight nats."""
    model, params, _ = statistician
    params = jax.tree.map(lambda leaf: 0.8 * leaf, params)  # weights that vary less
    elements = model.encode(params, None, jnp.tile(images(1, 1, shape=(1, 1, 2)), (1, 4, 1, 1, 1)))
    mask = jnp.ones((1, 4), bool)
    trace, _ = model.latents.infer(params, elements, mask, jax.random.key(0))
    assert len(np.unique(trace.levels[0].example_latent.value[0, :, 0])) == 4

    def bound(elements):
        keys = jax.random.split(jax.random.key(1), 20_000)
        weights = jax.jit(lambda keys: log_weights(model.latents, params, keys, elements, mask))(keys)
        return bounds.finalize(bounds.update(bounds.init((1,)), weights))

    copies, apart = bound(elements), bound(elements._replace(seed=jnp.arange(4, dtype=jnp.uint32)[None]))
    error = np.hypot(copies.standard_error, apart.standard_error)
    assert np.abs(copies.bound - apart.bound) < 4 * error
    assert error < 0.5


@pytest.mark.slow
def test_elements_of_a_vae_have_weights_of_their_own():
    overrides = TINY_VECTORS | {"model__set_vae__set_latent_levels": "none"}
    model = build(small_config(**overrides), (1, 1, 2))
    x_set = images(3, 4, shape=(1, 1, 2))
    params = shaken(jax.jit(model.init)(jax.random.key(0), batch_of(x_set)))
    mask = jnp.asarray([[True] * 4, [True, False, True, False], [False] * 4])
    joint = jax.jit(model.sets.joint, static_argnums=3)
    alone = jax.tree.map(lambda leaf: leaf[:, :, None], model.encode(params, None, x_set))
    expected = jnp.where(mask, joint(params, alone, jnp.ones((3, 4, 1), bool), 8), 0.0).sum(axis=1)
    np.testing.assert_allclose(joint(params, model.encode(params, None, x_set), mask, 8), expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("padding", [7.0, 1e25, np.nan])
def test_whatever_stands_in_the_holes_has_no_influence_on_gradients(statistician, padding):
    model, params, x_set = statistician
    mask = jnp.asarray([[True] * 3 + [False] * 2] * 4)

    @jax.jit
    def gradient(x_set):
        batch = batch_of(x_set)._replace(mask=mask)
        return jax.grad(lambda params: model.loss(params, jax.random.key(2), batch).value)(params)["networks"]

    for leaf, expected in zip(
        *(jax.tree.leaves(gradient(x)) for x in (x_set.at[:, 3:].set(padding), x_set)), strict=True
    ):
        np.testing.assert_allclose(leaf, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_more_draws_of_the_latents_tighten_the_bound(statistician):
    model, params, x_set = statistician
    x_set = images(200, 3, seed=5, shape=(1, 1, 2))
    found = []
    for draws in (1, 8, 64):
        elements = model.encode(params, None, x_set)
        found.append(np.asarray(sets_of(model).joint(params, elements, jnp.ones((200, 3), bool), draws)))
    for looser, tighter in itertools.pairwise(found):
        difference = tighter - looser
        assert difference.mean() > 2 * difference.std() / math.sqrt(len(difference))


@pytest.mark.slow
def test_coherent_samples_share_a_latent_of_the_set(statistician):
    """Samples are the closer to each other the more of their latents they share, as in the variance of a sum."""
    model, params, x_set = statistician
    state = sets_of(model).update(
        params, sets_of(model).init_state(params, (1,)), model.encode(params, None, x_set[:1])
    )
    draw_set = jax.jit(model.sets.sample, static_argnums=(3, 4))

    def spread(coherent):
        keys = jax.random.split(jax.random.key(0), 200)
        return np.var([draw_set(params, state, key, 50, coherent).sum(axis=0) for key in keys], axis=0)

    assert (spread(True) / spread(False)).max() > 3

"""The layout of the stream networks: what texts mean, and resizing pixel by pixel."""

import jax.numpy as jnp
import numpy as np
import pytest

from exflow.models.set_vae.networks.stream_layout import (
    block_runs,
    level_runs,
    mean_pool,
    parse_groups,
    per_block,
    resize_nearest,
)


def test_groups_are_pairs_from_fine_to_coarse():
    assert parse_groups("32-9,16-6,1-3") == ((32, 9), (16, 6), (1, 3))
    assert per_block("8-2,4-1") == (8, 8, 4)


@pytest.mark.parametrize("text", ["", "8", "8-", "8-x", "8-1-2", "8-0", "8--1", "8-1,,4-1"])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="expected resolution-number pairs such as '8-6,4-6,1-3', got"):
        parse_groups(text)


@pytest.mark.parametrize("text", ["7-1", "64-1", "0-1", "-8-1", "4-1,8-1"])
def test_resolutions_that_halving_does_not_reach_are_refused(text):
    with pytest.raises(ValueError, match=r"expected resolution|got '" + text):
        parse_groups(text)


def test_the_first_block_of_a_resolution_works_at_the_one_before():
    blocks = (32, 32, 16, 16, 16, 4)
    assert block_runs(blocks, 32) == [(32, 32, 2), (32, 16, 1), (16, 16, 2), (16, 4, 1)]
    assert block_runs(blocks[::-1], 2) == [(2, 4, 1), (4, 16, 1), (16, 16, 2), (16, 32, 1), (32, 32, 1)]


def test_levels_of_a_resolution_are_one_run():
    assert level_runs((1, 2, 2, 8, 8, 8)) == [(1, slice(0, 1)), (2, slice(1, 3)), (8, slice(3, 6))]


def test_nearest_resize_repeats_and_drops_the_rows_of_the_original():
    x = np.arange(28.0)[:, None] * 100 + np.arange(28.0)[None]
    larger = np.asarray(resize_nearest(jnp.asarray(x)[None, :, :, None], 32))[0, :, :, 0]
    repeated = sorted([*range(28), 0, 7, 14, 21])
    np.testing.assert_array_equal(larger, x[np.ix_(repeated, repeated)])
    x = np.arange(32.0)[:, None] * 100 + np.arange(32.0)[None]
    smaller = np.asarray(resize_nearest(jnp.asarray(x)[:, :, None], 28))[:, :, 0]
    kept = [row for row in range(32) if row not in (7, 15, 23, 31)]
    np.testing.assert_array_equal(smaller, x[np.ix_(kept, kept)])


def test_nearest_resize_to_twice_the_size_repeats_every_pixel():
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 4))
    np.testing.assert_array_equal(resize_nearest(jnp.asarray(x), 6), x.repeat(2, axis=1).repeat(2, axis=2).astype("f4"))


def test_mean_pool_is_the_mean_over_squares(x64):
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8, 2))
    found = mean_pool(jnp.asarray(x), 2)
    assert found.shape == (2, 3, 2, 2, 2)
    np.testing.assert_allclose(found[1, 2, 1, 0], x[1, 2, 4:, :4].mean(axis=(0, 1)), rtol=1e-12)
    np.testing.assert_array_equal(mean_pool(jnp.asarray(x), 8), x)

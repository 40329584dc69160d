"""Masks of observed pixels against pictures drawn by hand, and how often each is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core import observed


def test_one_quadrant_is_hidden_each_as_often() -> None:
    number = 2000
    masks = np.asarray(observed.quadrant_mask(jax.random.key(0), (2, number, 6, 4, 3)))
    assert masks.shape == (2, number, 6, 4, 1)
    pictures, count = np.unique(masks.reshape(-1, 6, 4), axis=0, return_counts=True)
    expected = []
    for rows in (slice(3), slice(3, 6)):
        for columns in (slice(2), slice(2, 4)):
            picture = np.ones((6, 4), bool)
            picture[rows, columns] = False
            expected.append(picture)
    assert {picture.tobytes() for picture in pictures} == {picture.tobytes() for picture in expected}
    assert (np.abs(count - number / 2) < 5 * np.sqrt(2 * number * 0.25 * 0.75)).all()
    np.testing.assert_array_equal(masks, observed.quadrant_mask(jax.random.key(0), (2, number, 6, 4, 3)))


def test_a_patch_lies_anywhere_inside() -> None:
    number = 4000
    masks = np.asarray(observed.patch_mask(jax.random.key(1), (number, 5, 4, 1), 1, 3))[..., 0]
    assert ((~masks).sum(axis=(1, 2)) == 9).all()
    top, left = (~masks).any(axis=2).argmax(axis=1), (~masks).any(axis=1).argmax(axis=1)
    for image in range(0, number, 500):
        assert not masks[image, top[image] : top[image] + 3, left[image] : left[image] + 3].any()
    count = np.bincount(top * 2 + left, minlength=6)  # 3 x 2 places
    assert (np.abs(count - number / 6) < 5 * np.sqrt(number * (1 / 6) * (5 / 6))).all()


@pytest.mark.slow
def test_several_patches_are_independent_and_may_overlap() -> None:
    """Of two patches of one pixel among four, one in four pairs falls together."""
    hidden = ~np.asarray(observed.patch_mask(jax.random.key(2), (4000, 2, 2, 1), 2, 1))
    together = (hidden.sum(axis=(1, 2, 3)) == 1).mean()
    assert abs(together - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 4000)
    assert set(np.unique(hidden.sum(axis=(1, 2, 3)))) == {1, 2}


def test_hidden_pixels_are_filled_and_the_mask_is_a_channel() -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 4, 2)), jnp.float32)
    seen = observed.quadrant_mask(jax.random.key(3), x.shape)
    mean = jnp.asarray(np.random.default_rng(1).normal(size=(4, 4, 2)), jnp.float32)
    expected = np.where(np.asarray(seen), x, np.asarray(mean)[None])
    np.testing.assert_array_equal(observed.fill(x, seen, mean), expected)
    both = np.asarray(observed.beside(observed.fill(x, seen, mean[0, 0]), seen))
    np.testing.assert_array_equal(both[..., :2], np.where(np.asarray(seen), x, np.asarray(mean)[0, 0]))
    np.testing.assert_array_equal(both[..., 2], np.asarray(seen)[..., 0])


def test_impossible_masks_are_refused() -> None:
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="shape: expected an even height and width, got 5x4. Resize the images"):
        observed.quadrant_mask(key, (5, 4, 1))
    for num_patches, patch_size in ((0, 2), (1, 0), (1, 5)):
        with pytest.raises(ValueError, match="patches: expected at least one of size 1 to 4, got"):
            observed.patch_mask(key, (6, 4, 1), num_patches, patch_size)

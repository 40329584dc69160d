"""Augmentation against scipy and against its own definition."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from exflow.data.pipelines import augment
from exflow.errors import UserError

warp_affine = jax.jit(augment.warp_affine)
downscale = jax.jit(augment.downscale, static_argnums=1)
RNG = np.random.default_rng(0)


def random_affine(key, images, **ranges):
    return compiled(tuple(ranges.items()))(key, images)


@cache
def compiled(ranges: tuple):
    return jax.jit(partial(augment.random_affine, **dict(ranges)))


EVERYTHING = {"rotation_degrees": 20.0, "scale": 0.2, "shear": 0.2, "translation": 0.1}


@pytest.mark.parametrize("shape", [(5, 8, 8, 1), (2, 3, 7, 9, 3), (12, 12, 1)])
def test_warp_equals_scipy(shape, x64) -> None:
    images = RNG.integers(0, 256, shape, dtype=np.uint8)
    batch = shape[:-3]
    matrix = np.eye(2) + RNG.normal(0, 0.3, (*batch, 2, 2))
    offset = RNG.normal(0, 2, (*batch, 2))
    warped = np.asarray(warp_affine(jnp.asarray(images), jnp.asarray(matrix), jnp.asarray(offset)))
    for place in np.ndindex(*batch):
        for channel in range(shape[-1]):
            oracle = ndimage.affine_transform(
                images[place][..., channel].astype(float), matrix[place], offset[place], order=1, mode="grid-constant"
            )
            np.testing.assert_array_equal(warped[place][..., channel], np.floor(oracle + 0.5))


def test_warp_by_whole_pixels_moves_and_fills_with_zero() -> None:
    images = RNG.integers(0, 256, (6, 6, 1), dtype=np.uint8)
    moved = warp_affine(jnp.asarray(images), jnp.eye(2), jnp.array([1.0, -2.0]))
    expected = np.zeros_like(images)
    expected[:5, 2:] = images[1:, :4]
    np.testing.assert_array_equal(moved, expected)


def test_no_range_or_no_chance_changes_nothing() -> None:
    images = jnp.asarray(RNG.integers(0, 256, (3, 4, 9, 9, 1), dtype=np.uint8))
    for ranges in ({}, {**EVERYTHING, "probability": 0.0}):
        np.testing.assert_array_equal(random_affine(jax.random.key(0), images, **ranges), images)


def test_each_image_gets_its_own_warp_and_sets_share_one() -> None:
    image = RNG.integers(0, 256, (12, 12, 1), dtype=np.uint8)
    x_set = jnp.asarray(np.broadcast_to(image, (4, 5, 12, 12, 1)))
    own = np.asarray(random_affine(jax.random.key(0), x_set, **EVERYTHING))
    assert len({x.tobytes() for x in own.reshape(20, -1)}) == 20
    shared = np.asarray(random_affine(jax.random.key(0), x_set, **EVERYTHING, per_set=True))
    assert [len({x.tobytes() for x in row}) for row in shared] == [1] * 4
    assert len({row.tobytes() for row in shared}) == 4
    again = np.asarray(random_affine(jax.random.key(0), x_set, **EVERYTHING, per_set=True))
    np.testing.assert_array_equal(again, shared)


def test_probability_is_the_share_of_changed_images() -> None:
    images = jnp.asarray(np.broadcast_to(RNG.integers(0, 256, (8, 8, 1), dtype=np.uint8), (2000, 8, 8, 1)))
    changed = random_affine(jax.random.key(2), images, **EVERYTHING, probability=0.3) != images
    share = np.asarray(changed).any(axis=(1, 2, 3)).mean()
    assert abs(share - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 2000)


def test_flips_are_mirror_images_before_the_warp() -> None:
    x_set = jnp.asarray(RNG.integers(0, 256, (400, 2, 6, 9, 1), dtype=np.uint8))
    original = np.asarray(x_set)
    flips = {(): original, (2,): original[:, :, ::-1], (3,): original[:, :, :, ::-1]}
    flips[2, 3] = original[:, :, ::-1, ::-1]
    chances = {"flip_horizontal": 0.5, "flip_vertical": 0.25}
    mirrored = np.asarray(random_affine(jax.random.key(1), x_set, **chances, probability=0.8, per_set=True))
    shares = {axes: (mirrored == image).all(axis=(1, 2, 3, 4)) for axes, image in flips.items()}
    assert sum(shares.values()).tolist() == [1] * 400  # every set is exactly one of the four, whole
    for axes, chance in (((), 0.2 + 0.8 * 0.375), ((2,), 0.1), ((3,), 0.3), ((2, 3), 0.1)):
        assert abs(shares[axes].mean() - chance) < 5 * np.sqrt(chance * (1 - chance) / 400)

    x_set = jnp.asarray(RNG.integers(0, 256, (4, 5, 12, 12, 1), dtype=np.uint8))
    moved = np.asarray(random_affine(jax.random.key(2), x_set, **EVERYTHING, flip_horizontal=1.0))
    plain = np.asarray(random_affine(jax.random.key(2), x_set[..., ::-1, :], **EVERYTHING))
    assert (moved != plain).mean() < 0.01  # rounding of coordinates
    assert np.abs(moved.astype(int) - plain).max() <= 1


def blob(row: float, column: float, size: int = 41) -> np.ndarray:
    """A smooth spot, whose centre of mass can be followed."""
    down, right = np.mgrid[:size, :size]
    return np.round(250 * np.exp(-((down - row) ** 2 + (right - column) ** 2) / 18)).astype(np.uint8)[..., None]


def centre_of_mass(images: np.ndarray) -> np.ndarray:
    """Row and column for every image."""
    mass = np.asarray(images)[..., 0].astype(float)
    mass /= mass.sum(axis=(-2, -1), keepdims=True)
    place = np.arange(mass.shape[-1])
    return np.stack([mass.sum(axis=-1) @ place, mass.sum(axis=-2) @ place], axis=-1)


def test_ranges_have_the_documented_meaning() -> None:
    """Follows a spot 6 pixels to the right of the centre (20, 20), and one 6 pixels below it."""
    spots = jnp.asarray(np.stack([blob(20, 26), blob(26, 20)])[:, None].repeat(150, axis=1))

    def extremes(**ranges) -> np.ndarray:
        """Minimum and maximum of (row, column) from the centre, for each spot."""
        centres = centre_of_mass(random_affine(jax.random.key(5), spots, **ranges)) - 20
        return np.stack([centres.min(axis=1), centres.max(axis=1)], axis=1)

    sin, cos, factor = np.sin(np.pi / 6), np.cos(np.pi / 6), np.exp(0.3)
    right, below = 6 * np.array([[-sin, cos], [sin, 1]]), 6 * np.array([[cos, -sin], [1, sin]])
    np.testing.assert_allclose(extremes(rotation_degrees=30.0), [right, below], atol=0.25)
    right, below = 6 * np.array([[0, 1 / factor], [0, factor]]), 6 * np.array([[1 / factor, 0], [factor, 0]])
    np.testing.assert_allclose(extremes(scale=0.3), [right, below], atol=0.25)
    right, below = np.array([[-4.1, 1.9], [4.1, 10.1]]), np.array([[1.9, -4.1], [10.1, 4.1]])
    np.testing.assert_allclose(extremes(translation=0.1), [right, below], atol=0.25)
    right, below = np.array([[0, 6], [0, 6]]), np.array([[6, -2.4], [6, 2.4]])
    np.testing.assert_allclose(extremes(shear=0.4), [right, below], atol=0.25)


@pytest.mark.parametrize("ranges", [{"scale": -0.1}, {"probability": 1.5}, {"flip_vertical": 1.1}])
def test_bad_ranges_are_refused(ranges) -> None:
    with pytest.raises(UserError, match=r"augmentation: expected ranges of at least 0 and probabilities in 0\.\.1"):
        random_affine(jax.random.key(0), jnp.zeros((1, 4, 4, 1), jnp.uint8), **ranges)


def test_downscale_is_the_rounded_mean() -> None:
    images = RNG.integers(0, 256, (3, 2, 6, 9, 2), dtype=np.uint8)
    small = downscale(jnp.asarray(images), 3)
    means = images.reshape(3, 2, 2, 3, 3, 3, 2).astype(np.float64).mean(axis=(3, 5))
    np.testing.assert_array_equal(small, np.floor(means + 0.5))
    assert small.dtype == jnp.uint8
    half = jnp.asarray(np.array([[0, 1], [0, 1]], np.uint8)[..., None])
    assert int(downscale(half, 2)[0, 0, 0]) == 1  # one half rounds up
    np.testing.assert_array_equal(downscale(jnp.asarray(images), 1), images)


def test_downscale_needs_a_divisor() -> None:
    with pytest.raises(UserError, match="downscale: 4 does not divide images of 6x9"):
        downscale(jnp.zeros((6, 9, 1), jnp.uint8), 4)

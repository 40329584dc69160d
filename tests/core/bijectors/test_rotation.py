"""`turn_back` against quarter turns of numpy, an orthogonal Jacobian and views that the data set renders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core.bijectors.rotation import turn_back
from exflow.data.sources.rotated_glyphs import rotated_glyphs


def contexts(degrees) -> np.ndarray:
    angle = np.deg2rad(np.asarray(degrees, np.float64))
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1)


@jax.jit
def forward(x, context):
    return turn_back().forward((), x, context)[0]


@jax.jit
def inverse(z, context):
    return turn_back().inverse((), z, context)[0]


@pytest.mark.parametrize("side", [4, 5])
def test_quarter_turns_are_exact(x64, side):
    x = np.random.default_rng(0).normal(size=(6, side, side, 2))
    quarters = [0, 1, 2, 3, -1, -2]
    turned = np.stack([np.rot90(image, number) for image, number in zip(x, quarters, strict=True)])
    context = contexts([90 * number for number in quarters])
    np.testing.assert_allclose(forward(turned, context), x, atol=1e-12)
    np.testing.assert_allclose(inverse(x, context), turned, atol=1e-12)


@pytest.mark.parametrize(("side", "degrees"), [(6, 33.0), (7, -151.0), (6, 45.0)])
def test_jacobian_is_orthogonal(x64, side, degrees):
    context = jnp.asarray(contexts([degrees]))
    jacobian = jax.jacobian(lambda x: turn_back().forward((), x.reshape(1, side, side, 1), context)[0].ravel())
    matrix = np.asarray(jax.jit(jacobian)(jnp.zeros(side**2)))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(side**2), atol=1e-12)


def test_views_come_back_to_one_picture(x64):
    """Mean absolute differences of the 36 views of a glyph from its view at 0 degrees, before and after."""
    data = rotated_glyphs(32, num_train=4, num_validation=1, num_test=1)
    views, context = data.images.astype(np.float64), np.asarray(data.context, np.float64)
    back = forward(views, context)
    upright = np.repeat(views[::36], 36, axis=0)
    before, after = np.abs(views - upright), np.abs(back - upright)
    assert after.mean() < 0.35 * before.mean()
    wrong_way = np.abs(inverse(views, context) - upright)
    assert wrong_way.mean() > before.mean()


def test_refuses_images_that_are_not_square():
    with pytest.raises(ValueError, match="expected square images, got 4x6"):
        forward(np.zeros((1, 4, 6, 1)), contexts([10]))

"""Layouts of the multi-scale maps against explicit index arithmetic in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core.bijectors.bijector import chain
from exflow.core.bijectors.squeeze import depth_to_space, factor_out, flatten, space_to_depth, squeeze, squeezed_shape
from tests.core.registry import coupling, two_scale_flow


def numpy_squeeze(x: np.ndarray) -> np.ndarray:
    """Spec: output channel (2 dy + dx) C + c holds row 2 i + dy, column 2 j + dx, channel c."""
    batch, height, width, channels = x.shape
    z = np.zeros((batch, height // 2, width // 2, 4 * channels), x.dtype)
    for dy in range(2):
        for dx in range(2):
            for c in range(channels):
                z[..., (2 * dy + dx) * channels + c] = x[:, dy::2, dx::2, c]
    return z


@pytest.mark.parametrize("shape", [(1, 2, 2, 1), (2, 4, 6, 3), (1, 28, 28, 1)])
def test_squeeze_order(shape):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(space_to_depth(jnp.asarray(x)), numpy_squeeze(x))
    np.testing.assert_array_equal(depth_to_space(space_to_depth(jnp.asarray(x))), x)


def test_two_scale_layout():
    """One channel: channels 0, 1 are the upper row of each 2x2 block and leave; 2, 3 are the lower row and go on."""
    x = np.arange(64, dtype=np.float32).reshape(1, 8, 8, 1)
    flow = chain(
        squeeze(), factor_out(chain(flatten((4, 4, 2)), flatten((32,)), _unflatten((4, 4, 2)))), flatten((4, 4, 4))
    )
    params = flow.init(jax.random.key(0), jnp.asarray(x))
    z, log_det = flow.forward(params, jnp.asarray(x))
    np.testing.assert_array_equal(z, numpy_squeeze(x).reshape(1, 64))
    np.testing.assert_array_equal(log_det, 0.0)
    np.testing.assert_array_equal(flow.inverse(params, z)[0], x)


def _unflatten(shape):
    there = flatten(shape)
    return there._replace(forward=there.inverse, inverse=there.forward)


def test_three_scale_layout():
    """z is [first half squeezed | first half of the second scale | its second half], as the original concatenates."""
    x = np.arange(2 * 16 * 16, dtype=np.float32).reshape(2, 16, 16, 1)
    identity = squeeze()._replace(
        forward=lambda params, x, context=None: (x, jnp.zeros(x.shape[0])),
        inverse=lambda params, z, context=None: (z, jnp.zeros(z.shape[0])),
    )
    flow = chain(squeeze(), factor_out(chain(squeeze(), factor_out(identity))))
    params = flow.init(jax.random.key(0), jnp.asarray(x))
    first = numpy_squeeze(x)  # 8x8x4
    out, rest = first[..., :2], numpy_squeeze(first[..., 2:])  # 8x8x2 out, 4x4x8
    expected = np.concatenate([numpy_squeeze(out), rest[..., :4], rest[..., 4:]], axis=-1)
    z, _ = flow.forward(params, jnp.asarray(x))
    assert z.shape == (2, 4, 4, 16)
    np.testing.assert_array_equal(z, expected)
    np.testing.assert_array_equal(flow.inverse(params, z)[0], x)


def test_only_the_second_half_of_the_channels_goes_on():
    doubled = coupling(np.zeros((2, 2, 2), bool))
    flow = factor_out(doubled)
    x = jax.random.normal(jax.random.key(0), (3, 2, 2, 4))
    params = flow.init(jax.random.key(1), x)
    z, _ = flow.forward(params, x)
    np.testing.assert_array_equal(z[..., :2], x[..., :2])
    np.testing.assert_allclose(z[..., 2:], doubled.forward(params, x[..., 2:])[0], rtol=1e-6)


def test_identity_couplings_leave_the_logit_pixels_in_order(x64):
    """Zero heads: z is the logit of the pixels in the documented order (the flow at initialisation)."""
    x = jax.random.uniform(jax.random.key(0), (2, 4, 4, 1), minval=1.0, maxval=255.0)
    flow = two_scale_flow((4, 4, 1))
    shapes = jax.eval_shape(flow.init, jax.random.key(1), x)
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    y = 0.5e-5 + (1 - 1e-5) * np.asarray(x) / 256
    expected = numpy_squeeze(np.log(y) - np.log1p(-y)).reshape(2, 16)
    np.testing.assert_allclose(jax.jit(flow.forward)(params, x)[0], expected, rtol=1e-12)


def test_shapes_and_errors():
    assert squeezed_shape((28, 28, 1)) == (14, 14, 4)
    assert squeezed_shape((32, 32, 1), 2) == (8, 8, 16)
    with pytest.raises(ValueError, match="divisible by 4, got 30 x 32"):
        squeezed_shape((30, 32, 1), 2)
    with pytest.raises(ValueError, match="expected even height and width, got 3 x 4"):
        space_to_depth(jnp.zeros((1, 3, 4, 1)))
    with pytest.raises(ValueError, match="channels divisible by 4, got 6"):
        depth_to_space(jnp.zeros((1, 2, 2, 6)))
    with pytest.raises(ValueError, match="even number of channels, got 3"):
        factor_out(squeeze()).forward((), jnp.zeros((1, 2, 2, 3)))
    with pytest.raises(ValueError, match=r"x: expected \[batch, 2, 2, 4\]"):
        flatten((2, 2, 4)).forward((), jnp.zeros((1, 4, 4, 1)))

"""Masks of the coupling layers against their definition, and what a coupling does with its network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core.bijectors.coupling import (
    affine_coupling,
    alternate,
    alternate_mask,
    channel_mask,
    checkerboard,
    checkerboard_mask,
)
from exflow.typing import Network
from tests.core.registry import mixing_network


def test_masks_are_those_of_the_original():
    for row, column in np.ndindex(3, 4):
        odd = (row + column) % 2 == 1
        assert (checkerboard_mask((3, 4, 2), 0)[row, column] == odd).all()
        assert (checkerboard_mask((3, 4, 2), 1)[row, column] == (not odd)).all()
    np.testing.assert_array_equal(channel_mask((2, 2, 4), 0)[1, 0], [True, True, False, False])
    np.testing.assert_array_equal(channel_mask((2, 2, 4), 1)[0, 1], [False, False, True, True])
    np.testing.assert_array_equal(alternate_mask((5,), 0), [False, True, False, True, False])
    np.testing.assert_array_equal(alternate_mask((5,), 1), [True, False, True, False, True])


def test_dense_mask_on_an_even_width_is_column_stripes():
    """A property of the original: the flat index is row-major, so one channel and even width give stripes."""
    np.testing.assert_array_equal(alternate_mask((28, 28, 1), 0)[:, :, 0], np.tile(np.arange(28) % 2 == 1, (28, 1)))


def test_coupling_applies_tanh_and_changes_only_unmasked_entries():
    seen = []

    def apply(params, x, context=None):
        seen.append(np.asarray(x))
        return jnp.full(x.shape, 100.0), jnp.full(x.shape, 3.0)

    flow = affine_coupling(alternate(0), Network(lambda key, x, context=None: (), apply))
    x = jnp.array([[1.0, 2.0, 3.0]])
    z, log_det = flow.forward((), x)
    np.testing.assert_array_equal(seen[0], [[0.0, 2.0, 0.0]])  # the network sees only what passes through
    np.testing.assert_allclose(z, [[np.e + 3, 2.0, 3 * np.e + 3]], rtol=1e-6)
    np.testing.assert_allclose(log_det, [2.0], rtol=1e-6)


def test_half_precision_networks_leave_the_density_in_float32():
    network = mixing_network()
    half = Network(
        network.init,
        lambda params, x, context=None: tuple(out.astype(jnp.bfloat16) for out in network.apply(params, x, context)),
    )
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 2))
    flow = affine_coupling(checkerboard(0), half)
    params = flow.init(jax.random.key(1), x)
    z, log_det = flow.forward(params, x)
    recovered, inverse_log_det = flow.inverse(params, z)
    assert z.dtype == log_det.dtype == jnp.float32
    np.testing.assert_allclose(recovered, x, atol=1e-5)
    np.testing.assert_allclose(log_det, -inverse_log_det, rtol=1e-6)


def test_errors_say_what_to_do():
    x = jnp.zeros((2, 4))
    with pytest.raises(ValueError, match=r"mask: expected bool \(4,\), got bool \(3,\)"):
        affine_coupling(alternate_mask((3,), 0), mixing_network()).forward((), x)
    narrow = Network(lambda key, x, context=None: (), lambda params, x, context=None: (x[:, :2], x[:, 2:]))
    with pytest.raises(ValueError, match="conditioner: expected two outputs of shape"):
        affine_coupling(alternate(0), narrow).forward((), x)
    with pytest.raises(ValueError, match="parity: expected 0 or 1, got 2"):
        checkerboard(2)
    with pytest.raises(ValueError, match="expected an even number of channels"):
        channel_mask((2, 2, 3), 0)

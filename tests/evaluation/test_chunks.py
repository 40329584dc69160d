"""The one loop over chunks: all rows in order, one compiled shape, whatever the size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.evaluation import placement
from exflow.evaluation.chunks import chunks, equal_size, in_chunks


@pytest.mark.parametrize("size", [1, 3, 4, 7, 100])
def test_rows_come_back_in_order_and_are_compiled_once(size):
    shapes = []

    @jax.jit
    def run(x, pair):
        shapes.append(x.shape)
        return {"sum": x + pair[0], "first": pair[0]}

    x, y = np.arange(14.0, dtype=np.float32).reshape(7, 2), np.arange(7, dtype=np.float32)[:, None]
    found = in_chunks(run, (x, (y, None)), size)
    np.testing.assert_array_equal(found["sum"], x + y)
    np.testing.assert_array_equal(found["first"], y)
    assert shapes == [(placement.round_up(size, placement.local_mesh().size), 2)]


def test_the_last_chunk_is_filled_with_the_last_row():
    (first, real), (last, fewer) = chunks(jnp.arange(7), 4)
    np.testing.assert_array_equal(first, [0, 1, 2, 3])
    np.testing.assert_array_equal(last, [4, 5, 6, 6])
    assert (real, fewer) == (4, 3)
    assert len(first.sharding.device_set) == len(jax.local_devices())


def test_equal_chunks():
    assert [equal_size(10, at_most) for at_most in (0, 1, 4, 6, 10, 99)] == [1, 1, 4, 5, 10, 10]

"""The one loop of evaluation: many rows through a compiled function, in equal chunks spread over the local devices."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding
from tqdm import tqdm

from exflow.evaluation.placement import DATA, local_mesh, round_up


def equal_size(total: int, at_most: int) -> int:
    """Rows per chunk where as few chunks as `at_most` rows allow are as equal as can be."""
    return -(-total // -(-total // max(1, at_most)))


def chunks(inputs: Any, size: int, description: str | None = None) -> Iterator[tuple[Any, int]]:
    """Rows of arrays in chunks of one size, which a compiled function sees as one shape.

    Args:
      inputs: Pytree of arrays with the same leading axis, of at least one row.
      size: Rows of a chunk; rounded up to a multiple of the number of devices.
      description: Title of the progress bar; None shows none.

    Yields:
      The chunk, split along its first axis over the local devices, the last one filled up with the last row; and how
      many of its rows are real.
    """
    total, size = len(jax.tree.leaves(inputs)[0]), round_up(size, local_mesh().size)
    sharding, starts = NamedSharding(local_mesh(), DATA), range(0, total, size)
    for start in tqdm(starts, description, unit="batch", disable=None if description else True, leave=False):
        rows = np.minimum(np.arange(start, start + size), total - 1)
        placed = jax.device_put(jax.tree.map(lambda leaf, rows=rows: np.asarray(leaf)[rows], inputs), sharding)
        yield placed, min(size, total - start)


def in_chunks(run: Callable[..., Any], inputs: tuple[Any, ...], size: int, description: str | None = None) -> Any:
    """run(*inputs) of all rows, computed in chunks; compiled once.

    Args:
      run: Compiled function, from arrays with a leading axis to a pytree of arrays with the same.
      inputs: Its arguments, pytrees of arrays with a leading axis [rows]; None stays None.
      size: Rows per call; rounded up to a multiple of the number of devices.
      description: Title of the progress bar; None shows none.

    Returns:
      The outputs as NumPy arrays with leading axis [rows].
    """
    outputs, pending, total = [], None, len(jax.tree.leaves(inputs)[0])
    for chunk, _ in chunks(inputs, size, description):
        found = run(*chunk)
        if pending is not None:  # copy one chunk to the host while the next is computed
            outputs.append(jax.device_get(pending))
        pending = found
    outputs.append(jax.device_get(pending))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:total], *outputs)

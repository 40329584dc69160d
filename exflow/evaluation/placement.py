"""Where evaluation computes: on the devices of this process, arrays copied to all or split along their first axis."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

DATA = PartitionSpec("data")
REPLICATED = PartitionSpec()


@functools.cache
def local_mesh() -> Mesh:
    """One-axis mesh `data` over the devices of this process; with several hosts each evaluates on its own."""
    return Mesh(np.array(jax.local_devices()), ("data",))


def replicate(tree: Any) -> Any:
    """Copy a pytree of arrays (host, one device, or replicated over all hosts) to every local device.

    Leaves that are there already are not copied.
    """
    sharding = NamedSharding(local_mesh(), REPLICATED)

    def place(leaf: Any) -> Array:
        there = isinstance(leaf, jax.Array) and leaf.sharding == sharding
        return leaf if there else jax.device_put(np.asarray(leaf), sharding)

    return jax.tree.map(place, tree)


def on_one_device(tree: Any) -> Any:
    """Copy a pytree of arrays to the first local device, for what is too small to be spread."""
    return jax.device_put(jax.tree.map(np.asarray, tree), jax.local_devices()[0])


def data_parallel(function: Callable[..., Any], copied: int, split: int) -> Callable[..., Any]:
    """The function on all local devices: its first arguments are copied, the others and its results split."""
    specs = (REPLICATED,) * copied + (DATA,) * split
    return jax.shard_map(function, mesh=local_mesh(), in_specs=specs, out_specs=DATA, check_vma=False)


def round_up(number: int, divisor: int) -> int:
    """Smallest multiple of `divisor` that is at least `number`."""
    return -(-number // divisor) * divisor

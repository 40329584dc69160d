"""Data parallelism: one mesh axis named "data", sets of a batch spread over it, parameters on every device."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from exflow.errors import UserError


def make_mesh(devices: Sequence[Any]) -> Mesh:
    """Mesh with the single axis "data" over `devices`."""
    return Mesh(np.array(devices), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    """Sharding of arrays that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def sharded_sets(mesh: Mesh) -> NamedSharding:
    """Sharding of arrays whose first axis counts the sets of a batch."""
    return NamedSharding(mesh, PartitionSpec("data"))


def check_divides(num_sets: int, num_devices: int, name: str = "config.data.sets_per_batch") -> None:
    """Raise UserError unless `num_sets` can be spread evenly over `num_devices`."""
    if num_sets % num_devices:
        smaller = [n for n in range(1, num_devices) if num_sets % n == 0]
        raise UserError(
            f"{name}: expected a multiple of the {num_devices} devices, got {num_sets}. Change it, or set "
            f"--config.training.num_devices={max(smaller, default=1)}."
        )


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Put a tree of host arrays, equal in every host, whole on every device of the mesh."""
    return jax.tree.map(lambda x: _place(x, replicated(mesh), np.shape(x)), tree)


def place_inputs(mesh: Mesh, inputs: Any) -> Any:
    """Put one step's host inputs on the mesh.

    Args:
      mesh: Mesh with the axis "data".
      inputs: Tree of host arrays. Arrays with axes hold this host's share of the batch's sets along the first axis;
        scalars are equal in all hosts.

    Returns:
      Global arrays: the first axis spread over the mesh, scalars replicated.
    """

    def place(x: Any) -> jax.Array:
        x = np.asarray(x)
        if x.ndim == 0:
            return _place(x, replicated(mesh), x.shape)
        return _place(x, sharded_sets(mesh), (x.shape[0] * num_hosts(mesh), *x.shape[1:]))

    return jax.tree.map(place, inputs)


def place_stacked_inputs(mesh: Mesh, inputs: Sequence[Any]) -> Any:
    """Put the host inputs of several steps on the mesh, stacked along a new first axis; see `place_inputs`."""

    def place(*xs: Any) -> jax.Array:
        x = np.stack(xs)
        if x.ndim == 1:
            return _place(x, replicated(mesh), x.shape)
        sharding = NamedSharding(mesh, PartitionSpec(None, "data"))
        return _place(x, sharding, (x.shape[0], x.shape[1] * num_hosts(mesh), *x.shape[2:]))

    return jax.tree.map(place, *inputs)


def _place(x: Any, sharding: NamedSharding, global_shape: tuple[int, ...]) -> jax.Array:
    if num_hosts(sharding.mesh) == 1:
        return jax.device_put(x, sharding)
    return jax.make_array_from_process_local_data(sharding, np.asarray(x), global_shape)


def num_hosts(mesh: Any) -> int:
    """Number of hosts whose devices the mesh holds."""
    return len({device.process_index for device in mesh.devices.flat})

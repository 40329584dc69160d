"""Several hosts (operating-system processes) as one: start them, and send small things from the first to all."""

import json
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from exflow.errors import UserError


def initialize_distributed() -> int:
    """Join the other hosts when the environment says so; call before anything touches a device.

    `EXFLOW_COORDINATOR=host:port`, `EXFLOW_NUM_PROCESSES` and `EXFLOW_PROCESS_ID` name them explicitly;
    `EXFLOW_DISTRIBUTED=auto` lets JAX ask the cluster (Slurm, Open MPI, TPU pods, Kubernetes).

    Returns:
      Number of hosts as far as it is known before devices are touched: 1 for a cluster's own answer.

    Raises:
      UserError: The variables are incomplete.
    """
    names = ("EXFLOW_COORDINATOR", "EXFLOW_NUM_PROCESSES", "EXFLOW_PROCESS_ID")
    coordinator, num_processes, process_id = values = [os.environ.get(name, "") for name in names]
    automatic = os.environ.get("EXFLOW_DISTRIBUTED", "") == "auto"
    if any(values) and not (coordinator and num_processes.isdigit() and process_id.isdigit()):
        raise UserError(f"{', '.join(names)}: expected host:port and two integers, got {values}. Set all three.")
    if not jax.distributed.is_initialized() and (automatic or coordinator):
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        if coordinator:
            jax.distributed.initialize(coordinator, int(num_processes), int(process_id))
        else:
            jax.distributed.initialize()
    return int(num_processes) if coordinator else 1


def broadcast_bytes(data: bytes) -> bytes:
    """`data` of the first host, in every host."""
    if jax.process_count() == 1:
        return data
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    buffer = np.zeros(length, np.uint8)
    if jax.process_index() == 0:
        buffer[:] = np.frombuffer(data, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(buffer)).astype(np.uint8).tobytes()


def broadcast_json(value: Any) -> Any:
    """JSON `value` of the first host, in every host."""
    return json.loads(broadcast_bytes(json.dumps(value).encode()))


def broadcast_tree(tree: Any) -> Any:
    """A tree of arrays of the first host, bit for bit, in every host; elsewhere only shapes and dtypes count."""
    if jax.process_count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    data = b"".join(np.asarray(leaf).tobytes() for leaf in leaves) if jax.process_index() == 0 else b""
    data, result, start = broadcast_bytes(data), [], 0
    for leaf in leaves:
        size = leaf.size * np.dtype(leaf.dtype).itemsize
        result.append(np.frombuffer(data[start : start + size], leaf.dtype).reshape(leaf.shape))
        start += size
    return jax.tree.unflatten(structure, result)


def on_first_host(action: Callable[[], None]) -> None:
    """Run `action` in the first host only; a UserError there is raised in every host."""
    message = ""
    if jax.process_index() == 0:
        try:
            action()
        except UserError as error:
            message = str(error)
    message = broadcast_json(message)
    if message:
        raise UserError(message)


def any_host(flag: bool) -> bool:
    """Whether `flag` is set in any host; every host must call it at the same point."""
    if jax.process_count() == 1:
        return flag
    return bool(np.asarray(multihost_utils.process_allgather(np.bool_(flag))).any())

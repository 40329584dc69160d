"""Which devices a run uses, and how programs are compiled for them."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from exflow import processor, xla_flags
from exflow.compilation_cache import enable_compilation_cache
from exflow.errors import UserError
from exflow.training.hosts import initialize_distributed
from exflow.training.sharding import check_divides, make_mesh


def configure_devices(config: ConfigDict) -> Mesh:
    """Choose the devices of a run; call it before anything touches a device.

    On accelerators all devices are used. A CPU is split into as many virtual devices as it has cores available, or the
    largest smaller number that divides the sets of a batch, because one device runs convolutions on one thread.
    `config.training.num_devices`, unless 0, fixes the number (per host). If JAX has been used before in this
    process, the number of virtual devices is what it is, and as many of them are used as divide the batch.

    Args:
      config: Complete configuration; `data.sets_per_batch` and `training` are read.

    Returns:
      Mesh with the axis "data" over the devices of all hosts.

    Raises:
      UserError: The sets of a batch cannot be divided evenly, or there are fewer devices than asked for.
    """
    if config.training.compilation_cache:
        enable_compilation_cache()
    xla_flags.wait_for_late_devices()
    xla_flags.leave_convolutions_to_eigen()
    if config.training.quick_compilation:
        xla_flags.compile_quickly()
    num_sets, wanted = config.data.sets_per_batch, config.training.num_devices
    num_processes = initialize_distributed()
    with suppress(RuntimeError):  # the devices exist already
        jax.config.update(
            "jax_num_cpu_devices", wanted or _largest_divisor(num_sets, processor.num_cores(), num_processes)
        )
    num_processes, num_local = jax.process_count(), jax.local_device_count()
    if wanted > num_local:
        raise UserError(
            f"config.training.num_devices: expected at most the {num_local} devices here, got {wanted}. Set it to 0."
        )
    per_process = wanted or num_local
    if not wanted and jax.default_backend() == "cpu":
        per_process = _largest_divisor(num_sets, num_local, num_processes)
    check_divides(num_sets, per_process * num_processes)
    by_process: dict[int, list[Any]] = {}
    for device in jax.devices():
        by_process.setdefault(device.process_index, []).append(device)
    return make_mesh([device for process in sorted(by_process) for device in by_process[process][:per_process]])


@contextmanager
def compilation(config: ConfigDict) -> Iterator[None]:
    """While the context is open, programs are compiled as `config.training.quick_compilation` says."""
    name = "jax_disable_most_optimizations"
    before = jax.config.values[name]
    jax.config.update(name, before or bool(config.training.quick_compilation))
    try:
        yield
    finally:
        jax.config.update(name, before)


def _largest_divisor(num_sets: int, at_most: int, num_processes: int) -> int:
    return max((n for n in range(1, at_most + 1) if num_sets % (n * num_processes) == 0), default=1)

"""Which devices a run uses, and where compiled programs are kept between runs."""

import hashlib
import os
import platform
from pathlib import Path

import jax
from ml_collections import ConfigDict

from exflow.errors import UserError
from exflow.training.processes import initialize_distributed
from exflow.training.sharding import check_divides


def configure_devices(config: ConfigDict) -> list[jax.Device]:
    """Choose the devices of a run; call it before anything touches a device.

    On accelerators all devices are used. A CPU is split into as many virtual devices as it has cores available, or the
    largest smaller number that divides the sets of a batch, because one device runs convolutions on one thread.
    `config.training.num_devices`, unless 0, fixes the number (per process). If JAX has been used before in this
    process, the number of virtual devices is what it is, and as many of them are used as divide the batch.

    Args:
      config: Complete configuration; `data.sets_per_batch` and `training` are read.

    Returns:
      Devices for the mesh, of all processes.

    Raises:
      UserError: The sets of a batch cannot be divided evenly, or there are fewer devices than asked for.
    """
    if config.training.compilation_cache:
        enable_compilation_cache()
    initialize_distributed()
    num_sets, wanted = config.data.sets_per_batch, config.training.num_devices
    num_processes = jax.distributed.global_state.num_processes if jax.distributed.is_initialized() else 1
    num_cores = wanted or _largest_divisor(num_sets, len(os.sched_getaffinity(0)), num_processes)
    try:
        jax.config.update("jax_num_cpu_devices", num_cores)
    except RuntimeError:
        pass  # the backends exist already
    local = jax.local_devices()
    if wanted > len(local):
        raise UserError(
            f"config.training.num_devices: expected at most the {len(local)} devices here, got {wanted}. Set it to 0."
        )
    per_process = wanted or len(local)
    if not wanted and local[0].platform == "cpu":
        per_process = _largest_divisor(num_sets, len(local), num_processes)
    check_divides(num_sets, per_process * num_processes)
    by_process: dict[int, list[jax.Device]] = {}
    for device in jax.devices():
        by_process.setdefault(device.process_index, []).append(device)
    return [device for process in sorted(by_process) for device in by_process[process][:per_process]]


def enable_compilation_cache() -> None:
    """Keep compiled programs in $EXFLOW_CACHE_DIR/jax (default ~/.cache/exflow/jax), one folder per kind of processor.

    Does nothing where a cache is set up already (`JAX_COMPILATION_CACHE_DIR`) or the folder cannot be written.
    """
    if jax.config.jax_compilation_cache_dir:
        return
    root = Path(os.environ.get("EXFLOW_CACHE_DIR") or Path.home() / ".cache" / "exflow")
    directory = root / "jax" / _processor()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(directory, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(directory))


def _largest_divisor(num_sets: int, at_most: int, num_processes: int) -> int:
    return max((n for n in range(1, at_most + 1) if num_sets % (n * num_processes) == 0), default=1)


def _processor() -> str:
    """Name for machines that run each other's programs: a home folder may be shared by different ones."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        flags = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(flags.encode()).hexdigest()[:8]}"

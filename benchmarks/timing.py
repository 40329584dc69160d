"""Measuring: variants that take turns, medians, and a record of the machine."""

import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax

from benchmarks.measured import over_rounds
from exflow import processor

PACKAGES = ("exflow", "jax", "jaxlib", "flax", "optax", "numpy", "tensorflow", "tensorflow-cpu", "torch")
ROUNDS = 5
MIN_SECONDS = 0.1


class Timing(NamedTuple):
    """Seconds per call, one sample per round."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median over rounds, with its range."""
        return over_rounds(self.samples)


def interleaved(
    variants: Mapping[Any, Callable[[], Any]], quick: bool = False, clock: Callable[[], float] = time.perf_counter
) -> dict[Any, Timing]:
    """Time functions that take turns, so that whatever else the machine does meets all of them alike.

    Args:
      variants: Functions without arguments; what they return is waited for with `block_until_ready`.
      quick: One round of single calls, instead of `ROUNDS` rounds of as many calls as fill `MIN_SECONDS`.
      clock: Seconds; `time.process_time` counts what other processes do not take.

    Returns:
      Timings by variant. Every function has been called once before, which compiles it.
    """
    rounds, min_seconds = (1, 0.0) if quick else (ROUNDS, MIN_SECONDS)
    samples: dict[Any, list[float]] = {name: [] for name in variants}
    for call in variants.values():
        jax.block_until_ready(call())
    for _ in range(rounds):
        for name, call in variants.items():
            calls, start = 0, clock()
            while (elapsed := clock() - start) < min_seconds or not calls:
                jax.block_until_ready(call())
                calls += 1
            samples[name].append(elapsed / calls)
    return {name: Timing(tuple(values)) for name, values in samples.items()}


def ratio(slow: Timing, fast: Timing) -> float:
    """How many times longer `slow` takes: the median of the ratios within each round, with their range."""
    return over_rounds([a / b for a, b in zip(slow.samples, fast.samples, strict=True)])


def environment() -> dict[str, Any]:
    """What the numbers depend on: versions, devices, processor, commit, date, and how busy the machine is."""
    devices = jax.local_devices()
    return {
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "platform": platform.platform(),
        "backend": jax.default_backend(),
        "device": devices[0].device_kind,
        "num_devices": len(devices),
        "cores": processor.num_cores(),
        "cpu_model": processor.model_name(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Commit of the checkout, with "-dirty" behind it where files differ; None outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()

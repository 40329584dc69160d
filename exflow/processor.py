"""The processor of this machine, on every operating system."""

import hashlib
import os
import platform
from pathlib import Path


def num_cores() -> int:
    """Cores that this process may use; those of the machine where the system does not tell (macOS, Windows)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def model_name() -> str:
    """What the processor is sold as, or else its architecture."""
    found = _line_of_cpuinfo("model name").partition(":")[2].strip()
    return found or platform.processor() or platform.machine()


def fingerprint() -> str:
    """Name for machines that run each other's compiled programs: a home folder may be shared by different ones."""
    features = _line_of_cpuinfo("flags", "Features") or platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"


def _line_of_cpuinfo(*starts: str) -> str:
    """The first line that starts so in what Linux knows of the processor; elsewhere ""."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(starts)), "")

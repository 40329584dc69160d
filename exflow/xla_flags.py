"""Options of XLA that only the environment can set, and only before JAX first touches a device.

XLA stops the process at an option that it does not know, so those that come and go are set by the version of JAX.
"""

import os

import jax

LATE_DEVICE = "--xla_cpu_collective_call_terminate_timeout_seconds"
FUSION_EMITTERS = "--xla_cpu_use_fusion_emitters"
YNN_FUSIONS = "--xla_cpu_experimental_ynn_fusion_type"


def set_default(flag: str, value: object) -> None:
    """Give an option a value, unless $XLA_FLAGS has one for it."""
    flags = os.environ.get("XLA_FLAGS", "")
    if flag not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}={value}".strip()


def of_known_version() -> bool:
    """Whether this JAX is one whose XLA is known to have the options here that are not of all versions."""
    return (0, 10) <= jax.__version_info__ < (0, 11)


def wait_for_late_devices() -> None:
    """Let virtual devices wait ten minutes for each other.

    By default XLA aborts the process after a minute, which a machine that is busy or wakes from sleep exceeds.
    """
    set_default(LATE_DEVICE, 600)


def compile_quickly() -> None:
    """Leave out the slowest way to compile loops on a CPU, where XLA still has another one."""
    if jax.__version_info__ < (0, 12):
        set_default(FUSION_EMITTERS, "false")


def leave_convolutions_to_eigen() -> None:
    """Compute convolutions on a CPU as XLA did before it handed them to YNNPACK, whose gradients are slower.

    `python -m benchmarks.bench_reference --ynn` compares training steps with both. Products stay with YNNPACK: Eigen's
    are faster on processors with AVX-512, but a run that was stopped and resumed no longer ended bit for bit like one
    that was not.
    """
    if of_known_version():
        set_default(YNN_FUSIONS, "-individual_convolution")

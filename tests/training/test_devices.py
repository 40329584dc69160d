"""Choice of devices, by programs of their own: it happens once per process."""

import os
import platform
import subprocess
import sys

import jax
import pytest

from exflow import processor, xla_flags
from exflow.errors import UserError
from exflow.training import configure_devices
from exflow.training.devices import compilation
from exflow.training.sharding import check_divides
from exflow.xla_flags import LATE_DEVICE, wait_for_late_devices
from tests.training.toy import toy_config

REPORT = """
import sys
from exflow.config import base_config
from exflow.training import configure_devices
config = base_config("bruno")
config.data.sets_per_batch, config.training.num_devices = int(sys.argv[1]), int(sys.argv[2])
import os
os.sched_getaffinity = lambda pid: set(range(int(sys.argv[3])))
mesh = configure_devices(config)
import jax
print(mesh.size, jax.device_count(), jax.config.jax_compilation_cache_dir)
"""

LATE = """
import time
from tests.training.toy import toy_config
from exflow.training import configure_devices
mesh = configure_devices(toy_config(training__num_devices=2))
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import PartitionSpec
def arrive(device):
    time.sleep(65 * device)
    return np.float32(1)
def count():
    one = jax.pure_callback(arrive, jax.ShapeDtypeStruct((), jnp.float32), jax.lax.axis_index("data"))
    return jax.lax.psum(one, "data")
print(jax.jit(jax.shard_map(count, mesh=mesh, in_specs=(), out_specs=PartitionSpec(), check_vma=False))())
"""


def report(environment, *arguments):
    command = [sys.executable, "-c", REPORT, *map(str, arguments)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    devices, known, cache = result.stdout.split()
    return int(devices), int(known), cache


def test_as_many_virtual_devices_as_cores_that_divide_the_sets(program_environment, tmp_path):
    environment = {**program_environment, "EXFLOW_CACHE_DIR": str(tmp_path)}
    del environment["JAX_COMPILATION_CACHE_DIR"]
    devices, known, cache = report(environment, 20, 0, 6)
    assert (devices, known) == (5, 5)
    assert cache.startswith(str(tmp_path / "jax"))
    assert os.path.isdir(cache)
    assert report(environment, 32, 4, 2)[:2] == (4, 4)  # an explicit number may exceed the cores


@pytest.mark.usefixtures("two_devices")
def test_devices_of_this_process():
    """The suite runs with two; what they do not divide uses one."""
    assert configure_devices(toy_config(training__num_devices=0)).size == 2
    assert configure_devices(toy_config(training__num_devices=1)).size == 1
    assert configure_devices(toy_config(training__num_devices=0, data__sets_per_batch=7)).size == 1
    with pytest.raises(UserError, match="at most the 2 devices here, got 3"):
        configure_devices(toy_config(training__num_devices=3))
    with pytest.raises(UserError, match=r"config\.data\.sets_per_batch: expected a multiple of the 2 devices, got 7"):
        configure_devices(toy_config(training__num_devices=2, data__sets_per_batch=7))
    assert jax.device_count() == 2


@pytest.mark.slow
def test_devices_wait_for_a_late_one(program_environment):
    """XLA alone aborts after 60 seconds."""
    command, environment = [sys.executable, "-c", LATE], {**program_environment, "XLA_FLAGS": ""}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert float(result.stdout) == 2


def test_a_given_time_to_wait_is_kept(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"{LATE_DEVICE}=7")
    wait_for_late_devices()
    assert os.environ["XLA_FLAGS"] == f"{LATE_DEVICE}=7"
    monkeypatch.setenv("XLA_FLAGS", "--another=1")
    wait_for_late_devices()
    assert os.environ["XLA_FLAGS"] == f"--another=1 {LATE_DEVICE}=600"


def test_options_that_this_xla_does_not_know_are_not_set(monkeypatch):
    for version, conv, fusion in (((0, 9, 2), False, True), ((0, 10, 2), True, True), ((0, 12, 0), False, False)):
        monkeypatch.setattr(jax, "__version_info__", version)
        monkeypatch.setenv("XLA_FLAGS", "")
        xla_flags.leave_convolutions_to_eigen()
        xla_flags.compile_quickly()
        flags = os.environ["XLA_FLAGS"]
        assert (xla_flags.YNN_FUSIONS in flags, xla_flags.FUSION_EMITTERS in flags) == (conv, fusion)


def test_the_error_names_a_number_that_works():
    check_divides(12, 4)
    with pytest.raises(UserError, match=r"multiple of the 8 devices, got 12.*--config\.training\.num_devices=6"):
        check_divides(12, 8)


@pytest.mark.parametrize("values", [("", "2", "0"), ("localhost:1", "two", "0"), ("localhost:1", "2", "")])
def test_incomplete_distributed_environment(monkeypatch, values):
    for name, value in zip(("COORDINATOR", "NUM_PROCESSES", "PROCESS_ID"), values, strict=True):
        monkeypatch.setenv(f"EXFLOW_{name}", value)
    with pytest.raises(UserError, match="EXFLOW_PROCESS_ID: expected host:port and two integers"):
        configure_devices(toy_config())


def test_quick_compilation_ends_with_its_run():
    name = "jax_disable_most_optimizations"
    for quick in (True, False):
        with compilation(toy_config(training__quick_compilation=quick)):
            assert jax.config.values[name] is quick
        assert jax.config.values[name] is False


def test_systems_that_do_not_tell_which_cores_are_ours(monkeypatch):
    """macOS and Windows."""
    monkeypatch.delattr(os, "sched_getaffinity")
    assert processor.num_cores() == os.cpu_count()
    assert configure_devices(toy_config(training__num_devices=0)).size >= 1
    monkeypatch.setattr(processor, "_line_of_cpuinfo", lambda *starts: "")  # nor what the processor is
    assert processor.fingerprint().startswith(platform.machine())
    assert processor.model_name()

"""Many tests here compile the same toy step: they share a folder of compiled programs, and so do their subprocesses."""

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache


@pytest.fixture(scope="session")
def compiled_programs(tmp_path_factory) -> Path:
    """Folder of compiled programs of one test run."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="package", autouse=True)
def _share_compiled_programs(compiled_programs) -> Iterator[None]:
    settings = {
        "jax_compilation_cache_dir": str(compiled_programs),
        "jax_persistent_cache_min_compile_time_secs": 0.05,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    compilation_cache.reset_cache()
    for name, value in settings.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture
def program_environment(compiled_programs, repository) -> dict[str, str]:
    """Environment for programs that tests start."""
    shared = {"JAX_COMPILATION_CACHE_DIR": str(compiled_programs), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.05"}
    return {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(repository), **shared}


@pytest.fixture
def two_devices() -> None:
    """Skips the test where the backend has fewer than two devices (one accelerator)."""
    if jax.device_count() < 2:
        pytest.skip("needs two devices")

"""Strict settings of the test suite; everything here runs before JAX starts a backend.

Two virtual CPU devices, no silent rank promotion, no legacy random keys, and every jaxtyping annotation of `exflow`
checked by beartype. `JAX_PLATFORMS=cuda python -m pytest` runs the same tests on another backend.
"""

import gc
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from tests import typechecking

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
# Most of the suite's time is compilation: less optimised code compiles in a third of the time and computes the same.
# Without fused multiply-adds (AVX had none) two programs round alike, so that tests may ask for equal bits.
_COMPILE_FAST = "--xla_backend_optimization_level=0 --xla_cpu_max_isa=AVX --xla_cpu_parallel_codegen_split_count=1"
if jax.__version_info__ < (0, 12):  # which no longer knows this flag, and stops
    _COMPILE_FAST += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_COMPILE_FAST}".strip()
jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_legacy_prng_key", "error")
jax.config.update("jax_traceback_in_locations_limit", 0)  # nobody looks at them
gc.set_threshold(100_000, 20, 50)  # programs being traced are many objects that live
if os.environ["JAX_PLATFORMS"] != "cpu":  # accelerators round the operands of float32 products by default
    jax.config.update("jax_default_matmul_precision", "highest")

# Decorates the functions and dataclasses of exflow as they are imported; NamedTuples are left alone.
typechecking.install("exflow")

# Prepared arrays go to a folder of this run, unless the caller names one (which saves preparing real data every time).
_OWN_CACHE = None if "EXFLOW_CACHE_DIR" in os.environ else tempfile.mkdtemp(prefix="exflow-test-cache-")
if _OWN_CACHE:
    os.environ["EXFLOW_CACHE_DIR"] = _OWN_CACHE  # inherited by the programs that tests start


def pytest_sessionfinish() -> None:
    """Looks for what tests forgot to close once; pytest would do so five times, on millions of objects."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Removes the cache folder that this run created."""
    if _OWN_CACHE:
        shutil.rmtree(_OWN_CACHE, ignore_errors=True)


_LONGEST = ("test_benchmarks.py", "test_smoke.py")  # of the slow tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the longest files, so that at the end no process works alone."""
    items.sort(key=lambda item: item.path.name not in _LONGEST)


# A compiled program takes several memory maps, of which Linux gives a process 65,530; past that the compiler crashes.
_MAPS_ALLOWED, _TESTS_BETWEEN_COUNTS = 20_000, 5
_tests_run = itertools.count(1)


def pytest_runtest_teardown() -> None:
    """Forgets compiled programs where a long-lived test process has gathered too many."""
    maps = Path("/proc/self/maps")
    if next(_tests_run) % _TESTS_BETWEEN_COUNTS or not maps.exists():
        return
    if maps.read_bytes().count(b"\n") > _MAPS_ALLOWED:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def x64() -> Iterator[None]:
    """Computes in float64 for one test: the oracles' precision."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root folder of the checkout, where `python -m exflow.main` is started from."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def toy_families() -> Iterator[None]:
    """The two families of `tests/families`, registered by what their configs import, and forgotten afterwards."""
    from exflow.config import families, load_config
    from exflow.models import registry

    folder, names = Path(__file__).parent / "families", ("toy_codes", "toy_single")
    for name in names:
        load_config(str(folder / f"config_{name}.py"))
    yield
    for name in names:
        del registry.FAMILIES[name], families._REGISTERED[name]
    for name, module in [*sys.modules.items()]:
        if (getattr(module, "__file__", None) or "") in (str(folder / f"{toy}.py") for toy in names):
            del sys.modules[name]


def need_tfds(name: str) -> None:
    """Skips the test where TFDS has not prepared a data set: tests never download."""
    folder = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    if not list(folder.glob(f"{name}/*/dataset_info.json")):
        pytest.skip(f"{name} is not prepared in {folder} (set TFDS_DATA_DIR)")


@pytest.fixture(scope="session")
def omniglot_available() -> None:
    """Skips the test where Omniglot cannot be read."""
    need_tfds("omniglot")

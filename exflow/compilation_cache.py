"""Where compiled programs are kept between processes."""

import os
from contextlib import suppress
from pathlib import Path

import jax

from exflow import processor

MIN_SECONDS = "jax_persistent_cache_min_compile_time_secs"


def enable_compilation_cache() -> None:
    """Keep compiled programs in $EXFLOW_CACHE_DIR/jax (default ~/.cache/exflow/jax), one folder per kind of processor.

    Programs of any duration are kept, unless `JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS` says from which on: the first
    calls of a model are many small ones. Does nothing where a cache is set up already (`JAX_COMPILATION_CACHE_DIR`),
    where caches are switched off (`JAX_ENABLE_COMPILATION_CACHE=0`), or where the folder cannot be written.
    """
    given = jax.config.values
    if given["jax_compilation_cache_dir"] or not given["jax_enable_compilation_cache"]:
        return
    with suppress(OSError, RuntimeError):  # RuntimeError: this user has no home
        root = Path(os.environ.get("EXFLOW_CACHE_DIR") or Path.home() / ".cache" / "exflow")
        directory = root / "jax" / processor.fingerprint()
        directory.mkdir(parents=True, exist_ok=True)
        if os.access(directory, os.W_OK):
            jax.config.update("jax_compilation_cache_dir", str(directory))
            if MIN_SECONDS.upper() not in os.environ:
                jax.config.update(MIN_SECONDS, 0.0)

"""Peak memory of the gradient of the full model with and without rematerialisation of its residual blocks."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import jax

from benchmarks.cases import TINY, build_model, configuration, loss_with_aux, random_batch, random_params
from benchmarks.report import Result, Table, main
from benchmarks.timing import interleaved

SIZES = {"data.sets_per_batch": 2, "data.set_size": 20}  # of 32 sets, so that it fits and takes seconds on CPU
LOOPS = ("unroll", "scan")


def measure(overrides: dict[str, Any], quick: bool) -> dict[str, float]:
    """Memory and time of one gradient; call it in a process of its own."""
    config = configuration("bruno_omniglot", overrides)
    model = build_model(config)
    batch = random_batch(config.data.sets_per_batch, config.data.set_size, model.image_shape)
    key = jax.random.key(0)
    params = jax.device_put(random_params(model, batch))
    compiled = jax.jit(jax.grad(loss_with_aux(model), has_aux=True)).lower(params, key, batch).compile()
    before, stats = resident_bytes(), {}
    jax.block_until_ready(compiled(params, key, batch))
    analysis = compiled.memory_analysis()
    if analysis is not None:
        stats["planned MB"] = analysis.temp_size_in_bytes / 1e6
    device = jax.local_devices()[0].memory_stats()
    if device:
        stats["peak MB"] = device["peak_bytes_in_use"] / 1e6
    elif before:
        stats["peak MB"] = (resident_bytes("VmHWM") - before) / 1e6
    timing = interleaved({"gradient": lambda: compiled(params, key, batch)}, quick)["gradient"]
    return {**stats, "seconds": timing.median}


def resident_bytes(field: str = "VmRSS") -> int:
    """Resident memory of this process, of which reading "VmRSS" restarts the peak "VmHWM"; 0 where unknown."""
    try:
        if field == "VmRSS":
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def run(quick: bool) -> Result:
    """Temporary memory as XLA plans it, growth of the process while it computes, one gradient per process."""
    sizes, loops = (TINY, LOOPS[:1]) if quick else (SIZES, LOOPS)
    medians: Table = {}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        for loop in loops:
            for name, remat in ((loop, False), (f"{loop}, remat", True)):
                overrides = sizes | {"model.block_loop": loop, "model.bruno.remat": remat}
                medians[name] = pool.submit(measure, overrides, quick).result()
    ratios = {
        f"{loop}, remat": {
            f"{column.split()[0]}, plain / remat": medians[loop][column] / medians[f"{loop}, remat"][column]
            for column in medians[loop]
        }
        for loop in loops
    }
    settings = {"config": "bruno_omniglot", "overrides": sizes, "num_devices": 1}
    return Result(settings, medians, ratios)


if __name__ == "__main__":
    main(run)

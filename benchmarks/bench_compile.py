"""Compile time of the gradient of the full model with its residual blocks scanned or unrolled."""

import time

import jax

from benchmarks.cases import TINY, build_model, configuration, loss_with_aux, random_batch
from benchmarks.measured import over_rounds
from benchmarks.report import Result, Table, main
from benchmarks.timing import ROUNDS

BLOCK_LOOPS = ("scan", "unroll")
SIZES = {"data.sets_per_batch": 32, "data.set_size": 20}


def compile_seconds(spec: str, overrides: dict) -> tuple[float, float]:
    """Seconds to trace and lower, and to compile, from empty caches; nothing is computed."""
    config = configuration(spec, overrides)
    model = build_model(config)
    batch = random_batch(config.data.sets_per_batch, config.data.set_size, model.image_shape)
    params = jax.eval_shape(model.init, jax.random.key(0), batch)
    jax.clear_caches()
    start = time.perf_counter()
    lowered = jax.jit(jax.value_and_grad(loss_with_aux(model), has_aux=True)).lower(params, jax.random.key(0), batch)
    middle = time.perf_counter()
    lowered.compile()
    return middle - start, time.perf_counter() - middle


def scan_and_unroll(spec: str, overrides: dict, key: str, quick: bool) -> tuple[Table, float]:
    """Medians of compiling with the configuration's `key` at "scan" and "unroll", and the ratio of the second to it."""
    jax.config.update("jax_enable_compilation_cache", False)
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in BLOCK_LOOPS}
    for _ in range(1 if quick else ROUNDS):
        for name in BLOCK_LOOPS:
            samples[name].append(compile_seconds(spec, overrides | {key: name}))
    medians = {}
    for name, pairs in samples.items():
        lower, compiling = (over_rounds(column) for column in zip(*pairs, strict=True))
        medians[name] = {"lower s": lower, "compile s": compiling, "both s": over_rounds([*map(sum, pairs)])}
    within = [sum(unroll) / sum(scan) for scan, unroll in zip(*samples.values(), strict=True)]
    return medians, over_rounds(within)


def run(quick: bool) -> Result:
    """Seconds from Python to an executable, without the persistent cache."""
    sizes = TINY if quick else SIZES
    medians, ratio = scan_and_unroll("bruno_omniglot", sizes, "model.block_loop", quick)
    settings = {"config": "bruno_omniglot", "overrides": sizes, "repeats": 1 if quick else ROUNDS}
    return Result(settings, medians, {"unroll": {"unroll / scan": ratio}})


if __name__ == "__main__":
    main(run)

"""Importance-weighted bounds of Matryoshka networks: streamed, as the evaluation does it, against all draws at once.

Streamed, images and draws come in calls whose arrays stay small, and what an image's features contribute is computed
once for all of its draws; at once, one `jax.vmap` maps over the keys of all draws. Every variant has a process of its
own, so that peak memory is its own.
"""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.bench_memory import resident_bytes
from benchmarks.cases import build_model, configuration, random_batch
from benchmarks.reference.cases import TINY_CONVOLUTIONAL_MATNET, TINY_DENSE_MATNET
from benchmarks.report import Result, Table, main
from benchmarks.timing import interleaved
from exflow.core.latents.bounds import iwae_bound
from exflow.evaluation.scoring.importance import importance
from exflow.evaluation.scoring.latents import encode
from exflow.model import latents_of
from exflow.models.latent_bounds import element_log_weights
from exflow.training.devices import configure_devices


class Size(NamedTuple):
    """What is weighed."""

    spec: str
    images: int
    draws: int
    tiny: dict[str, Any]  # overrides of tiny sizes


SIZES = {
    "fc": Size("matnet_mnist_fc", 100, 500, TINY_DENSE_MATNET),
    "conv": Size("matnet_mnist_conv", 20, 16, TINY_CONVOLUTIONAL_MATNET),
}
DTYPES = {"fc": ("float32", "bfloat16_products"), "conv": ("float32",)}
QUICK_DTYPES = {"fc": ("bfloat16_products",), "conv": ("float32",)}


def measure(size: Size, compute_dtype: str, at_once: bool, quick: bool) -> dict[str, float]:
    """Rate, processor time, memory and mean bound of one variant; call it in a process of its own."""
    images, draws = (4, 8) if quick else (size.images, size.draws)
    config = configuration(size.spec, {"model.compute_dtype": compute_dtype} | (size.tiny if quick else {}))
    configure_devices(config)
    model = build_model(config)
    batch = random_batch(2, 1, model.image_shape)
    latents, params = latents_of(model), jax.jit(model.init)(jax.random.key(0), batch)
    values = np.asarray(random_batch(images, 1, model.image_shape).x_set >= 128, np.float32)
    key, mask = jax.random.key(0), np.ones((images, 1), bool)

    @jax.jit
    def plain(params: Any, elements: Any) -> jax.Array:
        return iwae_bound(element_log_weights(latents, params, jax.random.split(key, draws), elements, mask))

    def call() -> Any:
        if at_once:
            return plain(params, encode(latents, params, values))
        return importance(model, params, values, key, draws).bound

    before = resident_bytes()
    bound, grown = np.mean(call()), resident_bytes("VmHWM") - before
    start = time.process_time()
    jax.block_until_ready(call())
    cpu_seconds = time.process_time() - start
    seconds = interleaved({"bound": call}, quick)["bound"].median
    return {
        "images x draws/s": images * draws / seconds,
        "images x draws per CPU s": images * draws / cpu_seconds,
        "peak MB": max(grown, 0) / 1e6,
        "bound, nats": -float(bound),
    }


def run(quick: bool) -> Result:
    """Images times draws per second; memory by which the process grows while it compiles and computes."""
    medians: Table = {}
    dtypes = QUICK_DTYPES if quick else DTYPES
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        for name, size in SIZES.items():
            for dtype in dtypes[name]:
                for how in ("streamed", "at once"):
                    found = pool.submit(measure, size, dtype, how == "at once", quick).result()
                    medians[f"{name}, {dtype}, {how}"] = found
    ratios: Table = {}
    for name in SIZES:
        for dtype in dtypes[name]:
            streamed, at_once = (medians[f"{name}, {dtype}, {how}"] for how in ("streamed", "at once"))
            rate = streamed["images x draws per CPU s"] / at_once["images x draws per CPU s"]
            ratios[f"{name}, {dtype}"] = {"draws per CPU s, streamed / at once": rate}
    sizes = {name: {"config": size.spec, "images": size.images, "draws": size.draws} for name, size in SIZES.items()}
    return Result({"sizes": sizes}, medians, ratios)


if __name__ == "__main__":
    main(run)

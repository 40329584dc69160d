"""Memory and speed of batches from a file of images that need not fit into memory."""

import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.report import Result, Table, main
from exflow.data.pipelines.build import make_pipeline
from exflow.data.pipelines.spec import EpisodeSpec, ImageSpec
from exflow.data.registry import ImageSets, group_by_class

PER_CLASS, IMAGE_SIZE = 20, 28
SPECS = {"32 sets of 20": EpisodeSpec(32, 20, True, False), "640 single images": ImageSpec(640)}
MEGABYTES = (256, 1024)
QUICK_MEGABYTES = (4, 16)


def write_images(path: Path, megabytes: int) -> None:
    """Write a file of random pixels, a piece at a time."""
    per_image = IMAGE_SIZE * IMAGE_SIZE
    number = megabytes * 2**20 // (per_image * PER_CLASS) * PER_CLASS
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (number, IMAGE_SIZE, IMAGE_SIZE, 1))
    rng = np.random.default_rng(0)
    for start in range(0, number, 10_000):
        part = images[start : start + 10_000]
        part[:] = np.frombuffer(rng.bytes(part.size), np.uint8).reshape(part.shape)
    images.flush()


def open_images(path: Path, mapped: bool) -> ImageSets:
    """The file as a training split of classes of 20 images, mapped or read."""
    images = np.load(path, mmap_mode="r" if mapped else None)
    return group_by_class(images, np.arange(len(images), dtype=np.int32) // PER_CLASS, path.name)


def measure(path: Path, mapped: bool, spec: EpisodeSpec | ImageSpec, batches: int) -> dict[str, float]:
    """Memory of this process's own, which pages of files in the system's cache are not; call it in one of its own."""
    few = group_by_class(np.zeros((4, IMAGE_SIZE, IMAGE_SIZE, 1), np.uint8), np.zeros(4, np.int32))
    next(make_pipeline("tfdata", few, ImageSpec(2), seed=0).batches(0))  # starts TensorFlow
    before = _own_bytes()
    stream = make_pipeline("tfdata", open_images(path, mapped), spec, seed=0).batches(0)
    next(stream)
    start, peak = time.perf_counter(), 0
    for _ in range(batches):
        size = next(stream).x_set.shape
        peak = max(peak, _own_bytes())
    seconds = time.perf_counter() - start
    return {"peak MB": (peak - before) / 2**20, "images/s": batches * size[0] * size[1] / seconds}


def _own_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def run(quick: bool) -> Result:
    """Growth of the process while it reads batches of the pipeline tfdata, one process each; Linux only."""
    sizes, batches = (QUICK_MEGABYTES, 3) if quick else (MEGABYTES, 200)
    medians: Table = {}
    ratios: Table = {}
    spawn = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool,
    ):
        for megabytes in sizes:
            path = Path(folder) / f"{megabytes}.npy"
            write_images(path, megabytes)
            for name, spec in SPECS.items():
                for kind, mapped in (("in memory", False), ("mapped", True)):
                    row = f"{name}, {kind}, {megabytes} MB"
                    medians[row] = pool.submit(measure, path, mapped, spec, batches).result()
    for name in SPECS:
        for kind in ("in memory", "mapped"):
            small, large = (medians[f"{name}, {kind}, {megabytes} MB"]["peak MB"] for megabytes in sizes)
            grown = (large - small) / (sizes[1] - sizes[0])
            ratios[f"{name}, {kind}, {sizes[1]} MB"] = {"growth / growth of the data": grown}
    return Result({"image_size": IMAGE_SIZE, "per_class": PER_CLASS, "batches": batches}, medians, ratios)


if __name__ == "__main__":
    main(run)

"""Classification of many queries among many classes through `TrainedModel.classify`, by the bundled model."""

import resource
import time

import numpy as np

import exflow
from benchmarks.report import Result, Table, main

CASES = ((20, 5, 1_000), (100, 50, 1_000), (1_000, 50, 1_000))  # ways, shots, queries
QUICK_CASES = ((3, 2, 5),)


def run(quick: bool) -> Result:
    """Seconds of a second call, with encoding of all images; growth of the largest memory of the process so far."""
    model = exflow.load("bruno_omniglot")
    rng, medians = np.random.default_rng(0), Table()
    before = _peak_megabytes()
    for ways, shots, queries in QUICK_CASES if quick else CASES:
        templates = rng.integers(0, 256, (ways, 1, *model.image_shape))
        noise = rng.integers(-20, 21, (ways, shots + 1, *model.image_shape))
        images = np.clip(templates + noise, 0, 255).astype(np.uint8)
        label = np.arange(queries) % ways
        seconds = []
        for _ in range(2):
            start = time.perf_counter(), time.process_time()
            found = model.classify(images[:, :shots], images[label, shots])
            seconds = [time.perf_counter() - start[0], time.process_time() - start[1]]
        medians[f"{ways:,}-way {shots}-shot, {queries:,} queries"] = {
            "s": seconds[0],
            "CPU s": seconds[1],
            "peak MB": _peak_megabytes() - before,
            "support MB": images[:, :shots].nbytes / 1e6,
            "accuracy %": 100 * float((found.argmax(axis=1) == label).mean()),
        }
    return Result({"model": "bruno_omniglot", "data": "random templates with noise"}, medians, {})


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main(run)

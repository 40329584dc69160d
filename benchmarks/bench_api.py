"""The Python API: the first answers of a process, steady calls, many images, and the programs that a service compiles.

First answers come from processes of their own, without and with programs that an earlier one has left on disk. Steady
calls stand beside the compiled functions that they call, with arguments that lie on the devices: what is left is the
work of the host.
"""

import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np

import exflow
from benchmarks.cases import TINY, build_model, configuration, random_batch, random_params
from benchmarks.report import Result, Table, main
from benchmarks.service import Service, compilations
from benchmarks.timing import interleaved, ratio
from exflow import padding
from exflow.api import TrainedModel
from exflow.evaluation import compiled
from exflow.model import Model
from exflow.warmup import Sizes

MODEL = "bruno_omniglot"
FIRST = """
import json, sys, time
start, found = (time.perf_counter(), 0.0), {}  # on the clock, and on all cores since the process began

def lap(name):
    global start
    now = time.perf_counter(), time.process_time()
    found[name] = {" ms": 1e3 * (now[0] - start[0]), " CPU ms": 1e3 * (now[1] - start[1])}
    start = now

import jax
lap("import jax")
import exflow, exflow.api
lap("import exflow")
model = exflow.load(sys.argv[1])
lap("load")
if len(sys.argv) == 2:
    import numpy as np
    x = np.random.default_rng(0).integers(0, 256, (6, *model.image_shape), np.uint8)
    state = jax.block_until_ready(model.init_state())
    lap("init_state")
    state = jax.block_until_ready(model.update(state, x[0]))
    lap("first update")
    model.log_prob(state, x[1])
    lap("first log_prob")
    model.classify(x[:4].reshape(2, 2, *model.image_shape), x[4:])
    lap("first classify")
    model.anomaly_scores(x)
    lap("first anomaly_scores")
    model.sample(state, 0, 4)
    lap("first sample")
print(json.dumps(found))
"""
TO_FIRST_ANSWER = ("import jax", "import exflow", "load", "init_state", "first update")
PROGRAMS = {  # what the API has compiled, by where it takes it from
    compiled: (
        "update",
        "log_prob",
        "class_states",
        "class_log_probs",
        "conditional",
        "conditional_gain",
        "sample_latents",
        "decode",
    ),
    padding: ("encode_batch",),
}
SERVICE = Sizes(set_size=16, num_sets=4, num_classes=5, num_images=16, num_samples=8)


def first_answers(quick: bool) -> Table:
    """Milliseconds of a process without compiled programs on disk, and of the next one; quick: until it has loaded.

    Of the clock, and of all cores together, which what else the machine does changes less.
    """
    unset = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "JAX_ENABLE_COMPILATION_CACHE")
    command = [sys.executable, "-c", FIRST, MODEL, *(["load"] if quick else [])]
    table: Table = {}
    with tempfile.TemporaryDirectory() as cache:
        environment = {name: value for name, value in os.environ.items() if name not in unset}
        environment |= {"EXFLOW_CACHE_DIR": cache}
        for column in ("cold",) if quick else ("cold", "cached"):
            folder = Path(__file__).parent.parent
            done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout)
            parts = [found[name] for name in TO_FIRST_ANSWER if name in found]
            found["first answer"] = {unit: sum(part[unit] for part in parts) for unit in parts[0]}
            for name, times in found.items():
                table.setdefault(name, {}).update({f"{column}{unit}": time for unit, time in times.items()})
    return table


def programs_of(call: Callable[[], Any]) -> Callable[[], Any]:
    """The compiled programs that a call of the API runs, and nothing else: their arguments lie on the devices."""
    runs: list[Callable[[], Any]] = []

    def recording(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(model: Model, *arguments: Any, **options: Any) -> Any:
            on_devices = jax.tree.map(lambda a: jax.device_put(a) if isinstance(a, np.ndarray) else a, arguments)
            runs.append(functools.partial(function, model, *on_devices, **options))
            return function(model, *arguments, **options)

        return run

    with contextlib.ExitStack() as patches:
        for module, names in PROGRAMS.items():
            for name in names:
                recorder = recording(vars(module)[name])
                patches.enter_context(mock.patch.object(module, name, recorder))
        call()
    return lambda: [run() for run in runs]


def steady_calls(model: TrainedModel, x: np.ndarray, many: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Calls of the API on images [class, image, h, w, c], and on many [num, h, w, c]."""
    state = model.update(model.init_state(), x[0])
    num_classes, num_images = x.shape[:2]
    small = f"{num_classes} classes of {num_images - 1}, {num_classes} queries"
    return {
        "update, 1 image": lambda: model.update(state, x[0, 0]).content,
        f"update, {num_images} images": lambda: model.update(state, x[0]).content,
        "log_prob, 1 image": lambda: model.log_prob(state, x[0, 0]),
        f"log_prob, {num_images} images": lambda: model.log_prob(state, x[0]),
        f"classify, {small}": lambda: model.classify(x[:, 1:], x[:, 0]),
        f"anomaly_scores, {num_images} images": lambda: model.anomaly_scores(x[0]),
        "sample, 4 images": lambda: model.sample(state, 0, 4),
        f"log_prob, {len(many):,} images": lambda: model.log_prob(state, many),
        f"sample, {len(many):,} images": lambda: model.sample(state, 0, len(many)),
    }


def compiled_by_service(model: TrainedModel, sizes: Sizes, requests: int) -> dict[str, float]:
    """Programs that a service of random sizes compiles in both halves, and its slowest request in the second."""
    service, counts, slowest = Service(model, sizes), [], 0.0
    for half in range(2):
        before = compilations()
        for _ in range(requests // 2):
            start = time.perf_counter()
            service.request()
            slowest = max(slowest, time.perf_counter() - start) if half else slowest
        counts.append(compilations() - before)
    return {
        "programs, first half": counts[0],
        "programs, second half": counts[1],
        "slowest, second half ms": 1e3 * slowest,
    }


def run(quick: bool) -> Result:
    """exflow.load("bruno_omniglot") in a fresh process, its steady calls, and a service of random sizes."""
    medians = first_answers(quick)
    core = build_model(configuration("bruno_omniglot:cpu", TINY)) if quick else None
    if core is None:
        model = exflow.load(MODEL)
    else:
        model = TrainedModel(core, random_params(core, random_batch(2, 4, core.image_shape)))
    rng, number = np.random.default_rng(0), 300 if quick else 10_000
    x, many = (rng.integers(0, 256, (*shape, *model.image_shape), np.uint8) for shape in ((5, 6), (number,)))
    ratios: Table = {}
    for name, call in steady_calls(model, x, many).items():
        once = quick or "10,000" in name
        timings = interleaved({"call": call, "programs": programs_of(call)}, once)
        medians[name] = {f"{variant} ms": 1e3 * timing.median for variant, timing in timings.items()}
        ratios[name] = {"call over programs": ratio(timings["call"], timings["programs"])}
    sizes = Sizes(2, 1, 1, 2, 1) if quick else SERVICE
    start, before = time.perf_counter(), compilations()
    model.warmup(**sizes._asdict())
    medians["warmup"] = {"call ms": 1e3 * (time.perf_counter() - start), "programs": compilations() - before}
    medians["service after warmup"] = compiled_by_service(model, sizes, 20 if quick else 1_000)
    return Result({"model": core.name if core else MODEL, "service": sizes._asdict()}, medians, ratios)


if __name__ == "__main__":
    main(run)

"""A process that takes training steps of exflow or of a reference when it is told to, and says what they took.

    python -m benchmarks.reference.worker exflow|ynn|reference|compiled CONFIG OVERRIDES_AS_JSON

Processes of their own that take turns do not disturb each other's threads, and each has a peak memory of its own. The
first reply is `{"first_step_seconds", "first_step_cpu_seconds"}`; every line on standard input then asks for as many
seconds of steps as it says (at least one step) and gets the reply `{"seconds", "cpu_seconds", "peak_gb"}`, the first
two per step.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import jax

from benchmarks.cases import build_model, configuration, random_batch, random_params

SIDES = ("exflow", "ynn", "reference", "compiled")  # ynn: exflow with the convolutions that XLA would choose


def prepare(side: str, spec: str, overrides: dict[str, Any]) -> Callable[[], Callable[[], Any]]:
    """What builds the step of a side, with parameters and batch made."""
    config = configuration(spec, overrides)
    if side in ("exflow", "ynn"):
        from benchmarks.bench_train_step import ExflowStep
        from exflow.training.devices import configure_devices

        mesh = configure_devices(config)
    model = build_model(config)
    batch = random_batch(config.data.sets_per_batch, config.data.set_size, model.image_shape)
    params = random_params(model, batch)
    if side in ("exflow", "ynn"):
        return lambda: ExflowStep(config, params, batch, mesh)
    from benchmarks.reference.step import ReferenceStep

    return lambda: ReferenceStep(config, params, batch, compiled=side == "compiled")


def steps(call: Callable[[], Any], min_seconds: float) -> dict[str, float]:
    """Take steps for so long."""
    number, start, cpu_start = 0, time.perf_counter(), time.process_time()
    while not number or time.perf_counter() - start < min_seconds:
        call()
        number += 1
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": seconds / number, "cpu_seconds": cpu_seconds / number, "peak_gb": peak / 1e9}


def main() -> None:
    """Serve standard input until it ends; whatever else is printed goes to standard error."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    side, spec, overrides = sys.argv[1:]
    build = prepare(side, spec, json.loads(overrides))
    start, cpu_start = time.perf_counter(), time.process_time()
    step = build()

    def call() -> None:
        jax.block_until_ready(step())

    call()
    first = {
        "first_step_seconds": time.perf_counter() - start,
        "first_step_cpu_seconds": time.process_time() - cpu_start,
    }
    replies.write(json.dumps(first) + "\n")
    for line in sys.stdin:
        replies.write(json.dumps(steps(call, float(line))) + "\n")


if __name__ == "__main__":
    main()

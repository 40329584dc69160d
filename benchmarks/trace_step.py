"""Where the time of a training step of exflow goes, operation by operation, from a trace of the profiler.

    python -m benchmarks.trace_step CASE [--sets N] [--compute_dtype TYPE] [--quick] [--out FILE]

One device on one core, so that no operation waits for another and their times add up to that of the step.
"""

import argparse
import os
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import jax

from benchmarks.bench_train_step import ExflowStep
from benchmarks.cases import build_model, configuration, random_batch, random_params
from benchmarks.reference.cases import CASES, overrides_of
from benchmarks.report import Result, Table, main
from exflow.training.devices import configure_devices

LARGEST = 20  # operations that get a row of their own
INSTRUCTION = re.compile(r"\s*(?:ROOT )?%(?P<name>[\w.\-]+) = (?P<shape>\([^)]*\)|\S+) (?P<opcode>[\w\-]+)\(")
ORIGIN = re.compile(r'op_name="(?P<origin>[^"]*)"')


class Operation(NamedTuple):
    """An instruction of a compiled program."""

    opcode: str
    shape: str  # of its result
    origin: str  # in the Python code, as JAX names it


def operations(program: str) -> dict[str, Operation]:
    """The instructions of a compiled program's text, by name."""
    found = {}
    for line in program.splitlines():
        match, origin = INSTRUCTION.match(line), ORIGIN.search(line)
        if match:
            found[match["name"]] = Operation(match["opcode"], match["shape"], origin["origin"] if origin else "")
    return found


def kind_of(name: str, operation: Operation) -> str:
    """What an operation's time is counted as; a fusion is named after what it does last and first."""
    if operation.opcode == "copy" or (operation.opcode == "fusion" and name.startswith(("transpose", "copy"))):
        return "transposes and copies"
    if operation.opcode != "fusion":
        plural = {"convolution": "convolutions", "dot": "products"}.get(operation.opcode, operation.opcode)
        return f"{plural}, gradient" if "transpose(" in operation.origin else plural
    return "sums" if "ynn" in name or "reduce" in name else "element by element"


def seconds_by_operation(folder: str, known: dict[str, Operation]) -> Counter[str]:
    """Seconds of each known operation in a trace."""
    (path,) = Path(folder).glob("**/*.xplane.pb")
    seconds: Counter[str] = Counter()
    for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
        for line in plane.lines:
            for event in line.events:
                if event.name in known:
                    seconds[event.name] += event.duration_ns / 1e9
    return seconds


def run(quick: bool, case: str = "bruno_dense", sets: int = 0, compute_dtype: str = "") -> Result:
    """Seconds of a training step by kind of operation, and of its largest operations, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    overrides = overrides_of(CASES[case], quick) | {"training.num_devices": 1}
    overrides |= {"data.sets_per_batch": sets} if sets else {}
    overrides |= {"model.compute_dtype": compute_dtype} if compute_dtype else {}
    config = configuration(CASES[case].spec, overrides)
    mesh, model = configure_devices(config), build_model(config)
    batch = random_batch(config.data.sets_per_batch, config.data.set_size, model.image_shape)
    step = ExflowStep(config, random_params(model, batch), batch, mesh)
    (inputs,) = step.step.place([batch])
    known = operations(step.step.step.lower(step.state, (), inputs).compile().as_text())
    jax.block_until_ready(step())
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(step())
        seconds = seconds_by_operation(folder, known)
    total, kinds = sum(seconds.values()), Counter[str]()
    for name, value in seconds.items():
        kinds[kind_of(name, known[name])] += value
    medians: Table = {kind: {"s": value, "share": value / total} for kind, value in kinds.most_common()}
    for name, value in seconds.most_common(LARGEST):
        operation = known[name]
        place = "/".join(operation.origin.split("/")[-3:])
        medians[f"{name} {operation.shape.split('{')[0]} {place}"] = {"s": value, "share": value / total}
    return Result({"case": case, "config": CASES[case].spec, "overrides": overrides}, medians, {})


def add_own_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this benchmark, the arguments of `run`."""
    parser.add_argument("case", choices=CASES, help="model and batch of benchmarks.reference.cases")
    parser.add_argument("--sets", type=int, default=0, help="sets in the batch (default: those of the case)")
    parser.add_argument("--compute_dtype", default="", help="model.compute_dtype (default: that of the case)")


if __name__ == "__main__":
    main(run, add_own_arguments)

"""Training steps of the published models against the same steps in PyTorch (`benchmarks/reference`).

    python -m benchmarks.bench_reference [--cases NAME ...] [--compiled] [--cached] [--ynn] [--isa avx2] [--quick]
        [--out FILE]

exflow and its reference run in processes of their own, which take turns. Without PyTorch (`pip install exflow[bench]`)
exflow runs alone. `--original` adds an implementation of somebody else, see `benchmarks.reference.original`. The first
step begins with parameters and ends with an update, compilation included (unless $JAX_COMPILATION_CACHE_DIR keeps it);
`--cached` adds that of a second process, which finds the compiled programs of the first on disk.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.reference import original
from benchmarks.reference.cases import CASES, overrides_of
from benchmarks.report import Result, Table, main
from benchmarks.timing import Timing, ratio
from exflow.xla_flags import YNN_FUSIONS

ROUNDS, MIN_SECONDS = 3, 1.0
QUICK_CASES = ("bruno_dense", "ns")
# Threads of PyTorch that wait actively take a busy machine from those that compute: a step of three times the CPU time.
ENVIRONMENT = {"OMP_WAIT_POLICY": "passive"}
# How libraries are told to leave out newer instructions; those parts of XLA that ask nobody use them all the same.
ISA = {
    "avx2": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_max_isa=AVX2".strip(),
    }
}


class Worker:
    """A process of `benchmarks.reference.worker`."""

    def __init__(self, side: str, spec: str, overrides: dict[str, Any], isa: str, cache: str = ""):
        command = [sys.executable, "-m", "benchmarks.reference.worker", side, spec, json.dumps(overrides)]
        variables = environment(isa)
        if cache:
            variables |= {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        if side == "ynn":
            variables["XLA_FLAGS"] = (
                f"{variables.get('XLA_FLAGS', '')} {YNN_FUSIONS}=+individual_convolution,+individual_dot".strip()
            )
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
        )
        self.first = self.reply()

    def reply(self) -> dict[str, float]:
        """Its next answer.

        Raises:
          RuntimeError: It has died.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"worker: ended with exit code {self.process.wait()}. Its error stands above.")
        return json.loads(line)

    def steps(self, min_seconds: float) -> dict[str, float]:
        """Let it take steps for so long."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{min_seconds}\n")
        self.process.stdin.flush()
        return self.reply()

    def close(self) -> None:
        """End it."""
        self.process.communicate()


def environment(isa: str) -> dict[str, str]:
    """Of the processes that are measured."""
    return ENVIRONMENT | os.environ | ISA.get(isa, {})


def first_steps(name: str, quick: bool, isa: str) -> dict[str, float]:
    """Seconds of the first step of a process of exflow whose programs an earlier one has compiled."""
    with tempfile.TemporaryDirectory() as cache:
        for _ in range(2):
            worker = Worker("exflow", CASES[name].spec, overrides_of(CASES[name], quick), isa, cache)
            worker.close()
    found = worker.first["first_step_seconds"], worker.first["first_step_cpu_seconds"]
    return dict(zip(("first step, cached programs s", "first step, cached programs CPU s"), found, strict=True))


def compare(name: str, sides: tuple[str, ...], quick: bool, isa: str, others: dict[str, Any]) -> tuple[dict, dict]:
    """Medians and ratios of a case.

    Args:
      name: Of the case.
      sides: Of `worker.SIDES`, exflow first.
      quick: Tiny sizes, one round.
      isa: Key of `ISA`, or "".
      others: Further sides: functions that give what a worker replies.
    """
    spec, overrides = CASES[name].spec, overrides_of(CASES[name], quick)
    workers = {side: Worker(side, spec, overrides, isa) for side in sides}
    calls = {
        side: lambda worker=worker: worker.steps(0.0 if quick else MIN_SECONDS) for side, worker in workers.items()
    }
    calls |= others
    replies: dict[str, list] = {side: [] for side in calls}
    for _ in range(1 if quick else ROUNDS):
        for side, call in calls.items():
            replies[side].append(call())
    for worker in workers.values():
        worker.close()
    timings = {
        (side, key): Timing(tuple(reply[key] for reply in found))
        for side, found in replies.items()
        for key in ("seconds", "cpu_seconds")
        if key in found[0]
    }
    medians = {f"{side} s": timings[side, "seconds"].median for side in calls}
    medians |= {f"{side} CPU s": timing.median for (side, key), timing in timings.items() if key == "cpu_seconds"}
    medians |= {f"{side} peak GB": found[-1]["peak_gb"] for side, found in replies.items()}
    medians |= {f"{side} first step s": worker.first["first_step_seconds"] for side, worker in workers.items()}
    ratios = {}
    for (side, key), timing in timings.items():
        if side != "exflow":
            unit = "" if key == "seconds" else ", CPU"
            ratios[f"{side} / exflow{unit}"] = ratio(timing, timings["exflow", key])
    return medians, ratios


def run(
    quick: bool,
    cases: Sequence[str] = (),
    compiled: bool = False,
    cached: bool = False,
    ynn: bool = False,
    isa: str = "",
    checkout: Path = Path(),
    original_command: str = "",
    seconds: str = original.SECONDS,
) -> Result:
    """Seconds per training step of exflow and of PyTorch; a ratio above 1 says that exflow is faster."""
    with_torch = importlib.util.find_spec("torch") is not None
    of_torch = ("reference", *(("compiled",) if compiled else ())) if with_torch else ()
    sides = ("exflow", *(("ynn",) if ynn else ()), *of_torch)
    others = {"original": lambda: original.run(original_command, checkout, seconds)} if original_command else {}
    medians: Table = {}
    ratios: Table = {}
    cases = cases or (QUICK_CASES if quick else tuple(CASES))
    if original_command and len(cases) > 1:
        raise ValueError(f"cases: expected one beside --original, got {', '.join(cases)}. Name the one it computes.")
    for name in cases:
        medians[name], ratios[name] = compare(name, sides, quick, isa, others)
        medians[name] |= first_steps(name, quick, isa) if cached else {}
    if with_torch:
        command = [sys.executable, "-m", "benchmarks.reference.machine", *(["--quick"] if quick else [])]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment(isa))
        medians["machine"] = json.loads(done.stdout)
    settings = {name: {"config": CASES[name].spec, "overrides": overrides_of(CASES[name], quick)} for name in cases}
    return Result({"cases": settings, "isa": isa, "original": original_command}, medians, ratios)


def add_own_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this benchmark, the arguments of `run`."""
    parser.add_argument("--cases", nargs="+", choices=CASES, default=(), metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--compiled", action="store_true", help="also the reference under torch.compile")
    parser.add_argument("--cached", action="store_true", help="also the first step with programs compiled before")
    parser.add_argument("--ynn", action="store_true", help="also exflow with the convolutions that XLA would choose")
    parser.add_argument("--isa", choices=ISA, default="", help="leave out newer instructions, where obeyed")
    parser.add_argument("--original", dest="original_command", default="", metavar="COMMAND", help="of an original")
    parser.add_argument("--checkout", type=Path, default=Path(), help="folder in which that command runs")
    parser.add_argument("--seconds", default=original.SECONDS, help="pattern of its steps (%(default)s)")


if __name__ == "__main__":
    main(run, add_own_arguments)

"""Run the benchmarks one after the other, each in a process of its own.

    python -m benchmarks [--quick] [--only NAME ...] [--out FILE.jsonl]

A process of its own gives each benchmark its number of virtual CPU devices and its peak memory. Run them on an idle
machine; ratios are of variants that took turns within one process, so they also survive a busy one.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.report import add_arguments

FOLDER = Path(__file__).resolve().parent
NAMES = sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py"))


def main() -> None:
    """Run what the command line asks for; exit code 1 if any benchmark failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the speed and memory of exflow.")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    add_arguments(parser)
    options = parser.parse_args()
    flags = [f"--out={options.out}", *(["--quick"] if options.quick else [])]
    failed = []
    for name in options.only:
        command = [sys.executable, "-m", f"benchmarks.bench_{name}", *flags]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

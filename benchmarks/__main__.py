"""Run the benchmarks one after the other, each in a process of its own, then print one table of all; or compare.

    python -m benchmarks [--quick] [--only NAME ...] [--out FILE.jsonl]
    python -m benchmarks --compare OLD.jsonl                  # run, then compare with an earlier file
    python -m benchmarks --compare OLD.jsonl NEW.jsonl        # compare two files, run nothing

A process of its own gives each benchmark its number of virtual CPU devices and its peak memory. Run them on an idle
machine; ratios are of variants that took turns within one process, so they also survive a busy one. Exit code 0: all
well, 1: a benchmark failed or a comparison found a regression beyond noise (`benchmarks.compare`), 2: a mistake, such
as a file that cannot be read.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import compare, lines
from benchmarks.report import add_arguments
from benchmarks.summary import summary
from exflow.errors import UserError
from exflow.program import as_program, reported

FOLDER = Path(__file__).resolve().parent
NAMES = sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py"))


def run(names: Sequence[str], out: Path, quick: bool) -> tuple[list[lines.Line], list[str]]:
    """Run benchmarks, print their common table, whatever fails or interrupts.

    Returns:
      What they wrote, and the names of those that failed.
    """
    failed, start = [], out.stat().st_size if out.exists() else 0
    flags = [f"--out={out}", *(["--quick"] if quick else [])]
    try:
        for name in names:
            command = [sys.executable, "-m", f"benchmarks.bench_{name}", *flags]
            if subprocess.run(command, check=False).returncode:
                failed.append(name)
    finally:
        written = lines.parse(out.read_bytes()[start:], out) if out.exists() else []
        if written:
            meaning = " (quick: the numbers mean nothing)" if quick else ", with the range over the rounds in brackets"
            print(f"\nAll benchmarks{meaning}\n\n{summary(written)}")
    return written, failed


def compared(old: Sequence[lines.Line], new: Sequence[lines.Line], titles: Sequence[Path]) -> bool:
    """Print the comparison of lines from two files.

    Returns:
      Whether something regressed.

    Raises:
      UserError: They have no number in common.
    """
    found = compare.compare(lines.last(old), lines.last(new))
    if not found.compared:
        names = " and ".join(", ".join(sorted({line.benchmark for line in side})) or "nothing" for side in (old, new))
        raise UserError(f"--compare: nothing in common, got {names}. Give files of the same benchmarks and --quick.")
    print(f"\n{titles[0]} (old) and {titles[1]} (new)\n\n{compare.told(found)}")
    return found.regressed


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the speed and memory of exflow.")
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument(
        "--compare",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="OLD.jsonl: run and compare with it; OLD.jsonl NEW.jsonl: compare these; exit code 1 at a regression",
    )
    add_arguments(parser)
    options = parser.parse_args(arguments)
    if len(options.compare) > 2:
        parser.error(f"--compare: expected OLD.jsonl or OLD.jsonl NEW.jsonl, got {len(options.compare)} files")
    with reported():
        files = [lines.read(path) for path in options.compare]
        if options.only or len(files) == 1:
            asked = options.only or NAMES
            files = [[line for line in found if line.benchmark in asked] for found in files]
        if len(files) == 2:
            sys.exit(int(compared(*files, options.compare)))
        written, failed = run(options.only or NAMES, options.out, options.quick)
        ends = [f"failed: {', '.join(failed)}. Their errors stand above."] if failed else []
        if files:
            old = [line for line in files[0] if line.quick == options.quick]
            if compared(old, written, (*options.compare, options.out)):
                ends.append("slower than before beyond noise")
        if ends:
            sys.exit("\n".join(ends))


if __name__ == "__main__":
    as_program(main)

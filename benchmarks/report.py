"""What a benchmark delivers: a table on the screen and one line of JSON."""

import argparse
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.lines import Line, Table, append
from benchmarks.numbers import aligned, number, with_spread
from benchmarks.timing import environment
from exflow.evaluation.results import check_writable
from exflow.program import reported

DEFAULT_OUT = Path("runs/benchmarks.jsonl")


class Result(NamedTuple):
    """Outcome of one benchmark; numbers know their spread over the rounds if they come from `timing`."""

    settings: dict[str, Any]  # sizes and whatever else says what was measured
    medians: Table
    ratios: Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every benchmark understands."""
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, the numbers mean nothing")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="file that gets one JSON line (%(default)s)")


def main(
    run: Callable[..., Result], add_own_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None
) -> None:
    """Command line of one benchmark.

    Args:
      run: Takes whether to use tiny sizes, and by name what `add_own_arguments` adds, and measures.
      add_own_arguments: Adds flags of the benchmark's own.
    """
    path = Path(inspect.getfile(run))
    name = path.stem.removeprefix("bench_")
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{path.stem}", description=run.__doc__)
    add_arguments(parser)
    add_own_arguments(parser)
    options = parser.parse_args()
    own = {name: value for name, value in vars(options).items() if name not in ("quick", "out")}
    with reported():
        check_writable(options.out.parent, "--out")
        result = run(options.quick, **own)
        print(f"\n{name}{' (quick)' if options.quick else ''}: {run.__doc__}\n{format_table(result)}", flush=True)
        append(options.out, Line(name, options.quick, *result, environment()))


def format_table(result: Result) -> str:
    """Rows and columns of ratios, with their spreads, and of medians as aligned text; a row may lack columns."""
    rows: dict[str, dict[str, str]] = {name: {} for name in (*result.medians, *result.ratios)}
    columns = {}
    for table, told in ((result.ratios, with_spread), (result.medians, number)):
        for name, cells in table.items():
            rows[name] |= {column: told(value) for column, value in cells.items()}
            columns |= dict.fromkeys(cells)
    lines = [[name, *(cells.get(column, "") for column in columns)] for name, cells in rows.items()]
    return aligned([["", *columns], *lines])

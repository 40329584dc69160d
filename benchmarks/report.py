"""What a benchmark delivers: a table on the screen and one line of JSON."""

import argparse
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.timing import environment

DEFAULT_OUT = Path("runs/benchmarks.jsonl")

Table = dict[str, dict[str, float]]  # row -> column, with its unit -> value


class Result(NamedTuple):
    """Outcome of one benchmark."""

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
    result = run(options.quick, **own)
    print(f"\n{name}{' (quick)' if options.quick else ''}: {run.__doc__}\n{format_table(result)}", flush=True)
    line = {"benchmark": name, "quick": options.quick, **result._asdict(), "environment": environment()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("a") as file:
        file.write(json.dumps(line) + "\n")


def format_table(result: Result) -> str:
    """Rows and columns of ratios and medians as aligned text; a row may lack columns."""
    names = dict.fromkeys((*result.medians, *result.ratios))
    rows = {name: result.ratios.get(name, {}) | result.medians.get(name, {}) for name in names}
    tables = (result.ratios, result.medians)
    columns = list(dict.fromkeys(column for table in tables for row in table.values() for column in row))
    lines = [["", *columns]]
    for name, row in rows.items():
        lines.append([name, *(_number(row[column]) if column in row else "" for column in columns)])
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    aligned = [[cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])] for cells in lines]
    return "\n".join("  ".join(cells).rstrip() for cells in aligned)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"

"""The files of the benchmarks: one line of JSON for each run of one benchmark.

A line holds "benchmark", "quick", "settings", "medians", "ratios", "environment" and "spreads". Medians and ratios are
numbers by row and column; "spreads" holds for "medians" and "ratios" the pairs [smallest, largest] over the rounds, by
row and column, where they are known. Lines that were written before there were spreads have none.
"""

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measured import Measured, spread_of
from exflow.errors import UserError

Table = dict[str, dict[str, float]]  # row -> column, with its unit -> value, `Measured` where its spread is known
TABLES = ("medians", "ratios")
KINDS = {"benchmark": str, "quick": bool, "settings": dict, "medians": dict, "ratios": dict, "environment": dict}


class Line(NamedTuple):
    """One run of one benchmark."""

    benchmark: str
    quick: bool
    settings: dict[str, Any]  # sizes and whatever else says what was measured
    medians: Table
    ratios: Table
    environment: dict[str, Any]


def append(path: Path, line: Line) -> None:
    """Write a line at the end of a file, whose folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    spreads = {
        name: {
            row: known
            for row, cells in table.items()
            if (known := {column: spread for column, value in cells.items() if (spread := spread_of(value))})
        }
        for name, table in zip(TABLES, (line.medians, line.ratios), strict=True)
    }
    text = json.dumps(line._asdict() | {"spreads": spreads})
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # something that was interrupted
                file.write(b"\n")
        file.write(f"{text}\n".encode())


def read(path: Path) -> list[Line]:
    """All lines of a file.

    Raises:
      UserError: It cannot be read, is empty, or one of its lines is not what `append` writes.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Give a file of python -m benchmarks.") from error
    found = parse(text, path)
    if not found:
        raise UserError(f"{path}: holds no line. Give a file of python -m benchmarks --out.")
    return found


def parse(text: bytes, path: Path) -> list[Line]:
    """The lines of a part of a file; `path` is what errors name."""
    numbered = enumerate(text.split(b"\n"), start=1)
    return [_parsed(line, f"{path}, line {number}") for number, line in numbered if line.strip()]


def last(lines: Iterable[Line]) -> dict[tuple[str, bool], Line]:
    """The last line of each benchmark, by its name and whether it is a quick one."""
    return {(line.benchmark, line.quick): line for line in lines}


def is_number(value: Any) -> bool:
    """Whether a value of a table can be compared: finite and positive."""
    return math.isfinite(value) and value > 0


def _parsed(text: bytes, where: str) -> Line:
    try:
        content = json.loads(text)
        for name, kind in KINDS.items():
            if not isinstance(content[name], kind):
                raise TypeError(name)
        spreads = content.get("spreads", {})
        medians, ratios = (_table(content[name], spreads.get(name, {})) for name in TABLES)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        names = ", ".join(KINDS)
        raise UserError(f"{where}: damaged, expected JSON with {names}. Remove the line, or measure anew.") from error
    return Line(**{name: content[name] for name in KINDS} | {"medians": medians, "ratios": ratios})


def _table(table: dict[str, dict[str, float]], spreads: dict[str, dict[str, list[float]]]) -> Table:
    """Numbers with their spreads."""
    return {
        row: {column: _value(value, spreads.get(row, {}).get(column)) for column, value in cells.items()}
        for row, cells in table.items()
    }


def _value(value: float, spread: list[float] | None) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(value)
    return value if spread is None else Measured(value, *spread)

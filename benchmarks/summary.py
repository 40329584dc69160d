"""One table over all benchmarks: ratios to references, the other ratios, medians; and what is slower by how much."""

from collections.abc import Sequence

from benchmarks import references
from benchmarks.columns import behind, meaning, of_itself
from benchmarks.lines import Line
from benchmarks.numbers import aligned, number, with_spread

WITHOUT = "No reference was measured (bench_reference, which needs pip install 'exflow[bench]')."


def summary(lines: Sequence[Line]) -> str:
    """The table and what is to be said of it; in brackets the smallest and the largest of the rounds."""
    parts = [of_references(lines), ratios(lines), medians(lines), slower(lines)]
    return "\n\n".join(part for part in parts if part)


def of_references(lines: Sequence[Line]) -> str:
    """Training steps beside those of references."""
    found = references.rows(line for line in lines if line.benchmark == "reference")
    return f"Against references\n{aligned(references.table(found), left=2)}" if found else ""


def ratios(lines: Sequence[Line]) -> str:
    """Ratios within exflow, one a line."""
    cells = [
        [line.benchmark, row, column, with_spread(value), meaning(line.benchmark, column).above_one]
        for line in lines
        if line.benchmark != "reference"
        for row, table in line.ratios.items()
        for column, value in table.items()
        if not of_itself(value)
    ]
    return _part("Other ratios", ["benchmark", "row", "ratio", "value", "above 1 says"], cells)


def medians(lines: Sequence[Line]) -> str:
    """Medians, one row a line."""
    cells = [
        [line.benchmark, row, ", ".join(f"{column} {number(value)}" for column, value in table.items())]
        for line in lines
        for row, table in line.medians.items()
        if line.benchmark != "reference" or row == "machine"
    ]
    return _part("Medians", ["benchmark", "row", "median over the rounds"], cells)


def slower(lines: Sequence[Line]) -> str:
    """What is slower than what it is measured against, and by how much."""
    found = references.rows(line for line in lines if line.benchmark == "reference")
    sentences = references.slower(found)
    for line in lines:
        if line.benchmark != "reference":
            sentences += [
                f"{line.benchmark}, {row}: {column} is {with_spread(value)}, not above 1."
                for (row, column), value in behind(line).items()
            ]
    measured = any(row.other for row in found)
    if not measured:
        sentences.append(WITHOUT)
    elif not sentences:
        sentences.append("Nothing takes more than its reference.")
    return "\n".join(["Slower than what it is measured against", *sentences])


def _part(title: str, header: list[str], cells: list[list[str]]) -> str:
    """A part of the table; "" without rows."""
    return f"{title}\n{aligned([header, *cells], left=len(header))}" if cells else ""

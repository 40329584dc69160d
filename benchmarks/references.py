"""What `bench_reference` measured, as one row per case and reference, and where exflow is behind in words."""

from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.columns import AGAINST_EXFLOW, title
from benchmarks.lines import Line
from benchmarks.measured import spread_of
from benchmarks.numbers import number, with_spread

QUANTITIES = {  # end of a column -> what it is
    "s": "time",
    "CPU s": "CPU time",
    "peak GB": "memory",
    "first step s": "time to the first step",
}


class Row(NamedTuple):
    """A case beside one reference."""

    case: str
    other: str  # "" where exflow ran alone
    ratios: dict[str, float]  # quantity -> that of the other over that of exflow
    exflow: dict[str, float]  # quantity -> its own
    reference: dict[str, float]
    line: Line


def rows(lines: Iterable[Line]) -> list[Row]:
    """Of lines of "reference"; a later line takes the place of an earlier one that has the same case and reference."""
    found: dict[tuple[str, str], Row] = {}
    for line in lines:
        isa = line.settings.get("isa")
        for name, medians in line.medians.items():
            matches = [AGAINST_EXFLOW.fullmatch(column) for column in line.ratios.get(name, {})]
            sides = dict.fromkeys(match["side"] for match in matches if match)
            case = f"{name}, {isa}" if isa else name
            if "exflow s" not in medians:  # of the machine
                continue
            if not sides and not any(known == case for known, _ in found):
                found[case, ""] = _row(case, "", line, name)
            for side in sides:
                found.pop((case, ""), None)
                found[case, side] = _row(case, side, line, name)
    return list(found.values())


def table(found: list[Row]) -> list[list[str]]:
    """Header and rows."""
    lines = [
        [
            "case",
            "against",
            "time, other / exflow (above 1: exflow is faster)",
            "CPU time, other / exflow (above 1: exflow needs less)",
            *(f"{who} {quantity}" for quantity in QUANTITIES for who in ("exflow", "other")),
        ]
    ]
    for row in found:
        values = [side.get(quantity) for quantity in QUANTITIES for side in (row.exflow, row.reference)]
        ratios = [with_spread(row.ratios.get(quantity)) for quantity in ("s", "CPU s")]
        lines.append([row.case, row.other or "nothing", *ratios, *("" if x is None else number(x) for x in values)])
    return lines


def slower(found: list[Row]) -> list[str]:
    """One sentence for each row in which exflow takes more of something than the reference."""
    sentences = []
    for row in found:
        more = [_more(quantity, ratio) for quantity, ratio in row.ratios.items() if ratio < 1]
        if more:
            sentences.append(f"{row.case}: exflow takes {' and '.join(more)} of {row.other}.")
    return sentences


def _more(quantity: str, ratio: float) -> str:
    """By how much exflow takes more; noise where it does not in every round."""
    spread = spread_of(ratio)
    noise = ", within noise," if spread and spread[1] >= 1 else ""
    return f"{with_spread(1 / ratio)} times the {QUANTITIES[quantity]}{noise}"


def _row(case: str, side: str, line: Line, name: str) -> Row:
    """Ratios of time are those within rounds, the others those of the medians."""
    medians = line.medians[name]
    own, other = (
        {quantity: medians[column] for quantity in QUANTITIES if (column := f"{who} {quantity}") in medians}
        for who in ("exflow", side)
    )
    ratios = {quantity: other[quantity] / own[quantity] for quantity in QUANTITIES if quantity in other.keys() & own}
    within = {"s": f"{side} / exflow", "CPU s": f"{side} / exflow, CPU"}
    measured = line.ratios.get(name, {})
    ratios |= {quantity: measured[column] for quantity, column in within.items() if column in measured}
    return Row(case, title(side), ratios, own, other, line)

"""Whether a machine or a change made exflow slower: two files of the benchmarks side by side.

Compared is the last line of each benchmark (quick lines with quick ones). Where machine, JAX, XLA's flags or sizes
differ, ratios alone are compared, since variants that took turns share what the machine does to them.

The noise of a number is the factor from its median to the farther of the smallest and largest of its rounds. A number
has changed if old and new differ by a factor of more than the product of both noises, and of more than `LEAST`
(`UNKNOWN` where a line does not hold the spread of either). `columns` says which direction is a regression; ratios of
two forms of exflow and what exflow is compared with have none, their changes are told and do not count.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from benchmarks.columns import better_median, meaning
from benchmarks.lines import Line, is_number
from benchmarks.measured import spread_of
from benchmarks.numbers import aligned, with_spread

LEAST, UNKNOWN = 1.05, 1.10
VERDICTS = {-1: "Regressions", 1: "Improvements", 0: "Changes that are neither"}
Lines = Mapping[tuple[str, bool], Line]


class Change(NamedTuple):
    """A number that differs by more than noise."""

    benchmark: str
    row: str
    column: str
    old: float
    new: float
    verdict: int  # -1: a regression, 1: an improvement, 0: neither


class Comparison(NamedTuple):
    """Of two files."""

    changes: list[Change]
    notes: list[str]  # differing machines, and what one side alone has
    compared: int  # numbers on both sides

    @property
    def regressed(self) -> bool:
        """Whether anything is worse."""
        return any(change.verdict < 0 for change in self.changes)


def compare(old: Lines, new: Lines) -> Comparison:
    """All benchmarks of both sides."""
    changes, notes, compared = [], [], 0
    for key in dict.fromkeys((*old, *new)):
        name = f"{key[0]}{' (quick)' if key[1] else ''}"
        if key not in old or key not in new:
            notes.append(f"{name}: only in {'old' if key in old else 'new'}")
            continue
        before, after = old[key], new[key]
        different = list(differences(before, after))
        if different:
            notes.append(f"{name}: only ratios are compared, since these differ: {'; '.join(different)}")
        one_sided: dict[str, list[str]] = {"old": [], "new": []}
        for table in ("ratios",) if different else ("ratios", "medians"):
            cells, others = _cells(before, table), _cells(after, table)
            one_sided["old"] += [f"{row}: {column}" for row, column in cells if (row, column) not in others]
            one_sided["new"] += [f"{row}: {column}" for row, column in others if (row, column) not in cells]
            both = [cell for cell in cells if cell in others]
            compared += len(both)
            for row, column in both:
                values = cells[row, column], others[row, column]
                if factor(*values) > allowed(*values):
                    verdict = _verdict(key[0], table, row, column, *values)
                    changes.append(Change(name, row, column, *values, verdict))
        notes += [f"{name}: only in {side}: {'; '.join(found)}" for side, found in one_sided.items() if found]
    return Comparison(changes, notes, compared)


def factor(old: float, new: float) -> float:
    """By how much two numbers differ, whatever the direction; at least 1."""
    return max(old / new, new / old)


def allowed(old: float, new: float) -> float:
    """Factor up to which a difference is noise."""
    spreads = [(value, spread_of(value)) for value in (old, new)]
    noises = [max(value / spread[0], spread[1] / value) for value, spread in spreads if spread and spread[0] > 0]
    product = 1.0
    for noise in noises:
        product *= noise
    return max(product, LEAST if len(noises) == 2 else UNKNOWN)


def differences(old: Line, new: Line) -> Iterator[str]:
    """What makes medians incomparable, as "name: old -> new"."""
    machines = [_machine(line.environment) for line in (old, new)]
    yield from _differing(machines[0], machines[1])
    yield from _differing(old.settings, new.settings)


def told(found: Comparison) -> str:
    """The comparison as text, worst first."""
    parts = ["\n".join(found.notes)] if found.notes else []
    for verdict, title in VERDICTS.items():
        changes = [change for change in found.changes if change.verdict == verdict]
        changes.sort(key=lambda change: -factor(change.old, change.new))
        if changes:
            header = ["benchmark", "row", "column", "old", "new", "new / old", "noise"]
            cells = [
                [
                    *(change.benchmark, change.row, change.column, with_spread(change.old), with_spread(change.new)),
                    *(f"{change.new / change.old:.3g}", f"{allowed(change.old, change.new):.3g}"),
                ]
                for change in changes
            ]
            parts.append(f"{title} beyond noise: {len(changes)}\n{aligned([header, *cells], left=3)}")
    regressions = sum(change.verdict < 0 for change in found.changes)
    parts.append(f"{found.compared} numbers compared, {len(found.changes)} beyond noise, {regressions} regressions.")
    return "\n\n".join(parts)


def _cells(line: Line, table: str) -> dict[tuple[str, str], float]:
    rows = line.ratios if table == "ratios" else line.medians
    return {(row, column): x for row, cells in rows.items() for column, x in cells.items() if is_number(x)}


def _verdict(benchmark: str, table: str, row: str, column: str, old: float, new: float) -> int:
    better = meaning(benchmark, column).better if table == "ratios" else better_median(benchmark, row, column)
    return better if new > old else -better


def _machine(environment: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: environment.get(name) for name in ("device", "cpu_model", "cores", "xla_flags")}
    return known | {"jax": environment.get("packages", {}).get("jax")}


def _differing(old: Mapping[str, Any], new: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """Keys that both have, at any depth, with different values: a subset of the cases is no difference."""
    for key in (key for key in old if key in new):
        before, after = old[key], new[key]
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differing(before, after, f"{where}{key}.")
        elif before != after:
            yield f"{where}{key}: {before} -> {after}"

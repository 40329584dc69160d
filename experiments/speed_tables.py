"""The README's section on speed, from `experiments/results/benchmarks_*.jsonl`: one file per machine.

Lines of `bench_reference` make the tables against PyTorch, all others those within exflow. What a file does not hold is
left out; quick lines do not count.
"""

from itertools import starmap
from pathlib import Path

from benchmarks import columns, lines, references
from benchmarks.lines import Line
from benchmarks.numbers import with_spread
from experiments.collect import RESULTS
from experiments.speed_origins import origins
from experiments.speed_rows import ROWS
from experiments.table_parts import markdown

INTRODUCTION = """`python -m benchmarks` measures speed and memory, with `--compare OLD.jsonl` against an earlier file;
`python -m experiments.table` writes this section. Ratios are of variants that took turns within one run, with the
smallest and the largest of its rounds in brackets where the file holds them; load is the load average of the machine,
benchmark included."""
WITHOUT = """**Against PyTorch** nothing is claimed yet: no `experiments/results/benchmarks_reference_*.jsonl` is there,
which `python -m benchmarks.bench_reference --out=FILE` writes."""


def speed_section(folder: Path = RESULTS) -> str:
    """Everything between the markers."""
    paths = sorted(folder.glob("benchmarks_*.jsonl"))
    files = {path: [line for line in lines.read(path) if not line.quick] for path in paths}
    against = [part for part in starmap(of_references, files.items()) if part]
    within = [part for part in starmap(within_exflow, files.items()) if part]
    return "\n\n".join([INTRODUCTION, *(against or [WITHOUT]), *within]) + "\n"


def of_references(path: Path, found: list[Line]) -> str:
    """Training steps beside PyTorch on one machine, and where exflow is behind; "" where nothing was measured."""
    rows = [row for row in references.rows(line for line in found if line.benchmark == "reference") if row.other]
    if not rows:
        return ""
    sentences = references.slower(rows) or ["Nothing takes more than its reference."]
    title = f"**Against PyTorch**, the same training steps ({link(path)}"
    return f"{measured(title, references.table(rows), [row.line for row in rows])}\n\n{' '.join(sentences)}"


def within_exflow(path: Path, found: list[Line]) -> str:
    """Ratios within exflow on one machine; "" where nothing was measured."""
    last = {name: line for (name, _), line in lines.last(found).items()}
    rows = []
    for benchmark, what, told in ROWS:
        if benchmark in last:
            try:
                rows.append((what, told(last[benchmark]), last[benchmark]))
            except KeyError:
                continue
    if not rows:
        return ""
    table = [["what", "measured"], *([what, told] for what, told, _ in rows)]
    parts = [measured(f"**Within exflow** ({link(path)}", table, [line for _, _, line in rows])]
    behind = [
        f"{name}, {row}: {column} is {with_spread(value)}."
        for name, line in last.items()
        if name != "reference"
        for (row, column), value in columns.behind(line).items()
    ]
    if behind:
        parts.append(f"Behind what it is compared with: {' '.join(behind)}")
    if "set_vae" in last:
        parts.append(set_vae_table(last["set_vae"]))
    return "\n\n".join(parts)


def set_vae_table(line: Line) -> str:
    """Images per second of the variants."""
    names = [name for name, cells in line.medians.items() if "training images/s" in cells]
    sizes, draws = line.settings["overrides"], line.settings["num_samples"]
    table = [["", *(f"`{name}`" for name in names)]]
    for what, column, digits in (("training", "training", 0), (f"bound of {draws:,} draws", "bound", 1)):
        values = (line.medians[name][f"{column} images/s"] for name in names)
        table.append([f"{what}, images/s", *(f"{value:.{digits}f}" for value in values)])
    title = f"Set VAEs in the small sizes of `cpu_`, bounds per set of {sizes['data.set_size']} ({origins([line])[1]})"
    return f"{title}:\n\n{markdown(table)}"


def measured(title: str, table: list[list[str]], found: list[Line]) -> str:
    """A table with where its rows were measured: behind its open title, or by letters that stand below it."""
    marks, legend = origins(found)
    if not any(marks):
        return f"{title}; {legend}):\n\n{markdown(table)}"
    rows = [[*cells, *mark] for cells, mark in zip(table[1:], marks, strict=True)]
    return f"{title}):\n\n{markdown([[*table[0], 'where'], *rows])}\n\n{legend}."


def link(path: Path) -> str:
    """To a file of results, from the README."""
    return f"[{path.name}](experiments/results/{path.name})"

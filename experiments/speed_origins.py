"""Where and when numbers of the benchmarks were measured, in words."""

from collections.abc import Sequence
from string import ascii_lowercase

from benchmarks.lines import Line
from benchmarks.numbers import number


def origins(lines: Sequence[Line]) -> tuple[list[list[str]], str]:
    """Where each line comes from.

    Returns:
      For each line a list with its letter, empty where all have the same origin; and what the letters stand for.
    """
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(_place(line), []).append(line)
    told = [f"{place}{_load(found)}" for place, found in groups.items()]
    if len(told) == 1:
        return [[] for _ in lines], told[0]
    letters = dict(zip(groups, ascii_lowercase, strict=False))
    return [[letters[_place(line)]] for line in lines], "; ".join(map("{}: {}".format, letters.values(), told))


def _place(line: Line) -> str:
    """Machine, versions, flags, commit and date of a line, as far as it holds them."""
    known = line.environment
    packages = known.get("packages", {})
    commit = known.get("commit") or "unknown"
    processor = f"{known.get('cores')} cores of {known.get('cpu_model')}"
    parts = [
        processor if known.get("backend") == "cpu" else known.get("device"),
        *(f"{title} {packages[name]}" for name, title in (("jax", "JAX"), ("torch", "PyTorch")) if name in packages),
        f"`XLA_FLAGS={known['xla_flags']}`" if known.get("xla_flags") else "",
        f"commit {commit[:8]}{' with changed files' if commit.endswith('-dirty') else ''}",
        known.get("date", "")[:10],
    ]
    return ", ".join(part for part in parts if part)


def _load(lines: Sequence[Line]) -> str:
    """Load averages of the machine when measuring ended, which count the benchmark itself."""
    loads = [load for line in lines if (load := line.environment.get("load_average")) is not None]
    if not loads:
        return ""
    ends = dict.fromkeys(map(number, (min(loads), max(loads))))
    return f", load {' to '.join(ends)}"

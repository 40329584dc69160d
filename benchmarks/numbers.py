"""How numbers of benchmarks are printed."""

from benchmarks.measured import spread_of


def number(value: float) -> str:
    """Three digits, or all that stand before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def with_spread(value: float | None) -> str:
    """A number with the smallest and the largest over the rounds where they are known; "" for None."""
    if value is None:
        return ""
    spread = spread_of(value)
    return number(value) + (f" ({number(spread[0])} to {number(spread[1])})" if spread else "")


def aligned(lines: list[list[str]], left: int = 1) -> str:
    """Cells as columns of text, so many of them to the left and the others to the right."""
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    rows = [
        [*map(str.ljust, cells[:left], widths[:left]), *map(str.rjust, cells[left:], widths[left:])] for cells in lines
    ]
    return "\n".join("  ".join(cells).rstrip() for cells in rows)

"""Draw `docs/design.png`: where an image, a batch and a parameter go, from the command line to `results.json`.

    python docs/draw_design.py

Boxes name files of the package; a file that does not exist is an error, so that the picture cannot grow old unnoticed.
"""

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
IMAGE, BATCH, PARAMETER = "#1f6fb4", "#2e8b57", "#c03a2b"  # routes
GREY = "0.55"


class Box(NamedTuple):
    """A place: files of the package, and what happens there."""

    column: float
    row: float
    files: tuple[str, ...]
    what: str
    color: str = "white"


CORE, OWN = "#eef4fb", "#fdf3e7"  # mathematics, a family's own room
BOXES = {
    "main": Box(0, 0, ("exflow/main.py", "exflow/config"), "flags and keys"),
    "modes": Box(1, 0, ("exflow/modes.py",), "mode -> function"),
    "setup": Box(2, 0, ("exflow/training/setup.py",), "data, model, optimiser,\nstate"),
    "loop": Box(3, 0, ("exflow/training/loop.py",), "step, log, validate, save"),
    "step": Box(4, 0, ("exflow/training/step.py",), "phases, gradients,\ngroups of parameters"),
    "sources": Box(0, 1, ("exflow/data/sources",), "one file per data set"),
    "pipelines": Box(1, 1, ("exflow/data/pipelines",), "batch = f(seed, step)"),
    "model": Box(2, 1, ("exflow/model.py", "exflow/models/registry.py"), "core and capabilities"),
    "checkpoint": Box(3, 1, ("exflow/training/checkpoint.py",), "latest and best"),
    "family": Box(4, 1, ("exflow/models/bruno",), "a family: its networks,\nits loss", OWN),
    "results": Box(0, 2, ("exflow/evaluation/results.py",), "results.json, table"),
    "evaluators": Box(1, 2, ("exflow/evaluation/evaluators",), "ask for a capability"),
    "encoding": Box(2, 2, ("exflow/evaluation/encoding.py",), "every image once"),
    "api": Box(3, 2, ("exflow/loading.py", "exflow/api.py"), "exflow.load"),
    "core": Box(4, 2, ("exflow/core",), "bijectors, processes,\nlikelihoods, latents", CORE),
}
ROUTES = (  # from, to, which, label
    ("main", "modes", GREY, ""),
    ("modes", "setup", GREY, ""),
    ("setup", "loop", GREY, ""),
    ("loop", "step", BATCH, ""),
    ("sources", "pipelines", IMAGE, ""),
    ("pipelines", "setup", BATCH, ""),
    ("model", "setup", PARAMETER, "init"),
    ("step", "family", BATCH, "loss"),
    ("family", "core", BATCH, ""),
    ("loop", "checkpoint", PARAMETER, "save"),
    ("checkpoint", "encoding", PARAMETER, ""),
    ("checkpoint", "api", PARAMETER, ""),
    ("encoding", "model", IMAGE, "encode"),
    ("encoding", "evaluators", IMAGE, "elements"),
    ("evaluators", "results", GREY, "numbers"),
)
WIDTH, HEIGHT, GAP_X, GAP_Y = 2.5, 0.86, 0.72, 0.62


def center(box: Box) -> tuple[float, float]:
    """Middle of a box in the plane of the picture."""
    return box.column * (WIDTH + GAP_X), -box.row * (HEIGHT + GAP_Y)


def check() -> None:
    """Raise FileNotFoundError unless all files of the picture exist."""
    missing = [file for box in BOXES.values() for file in box.files if not (ROOT / file).exists()]
    if missing:
        raise FileNotFoundError(f"docs/draw_design.py names {', '.join(missing)}. Correct its boxes.")


def draw(path: Path) -> None:
    """Write the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import FancyBboxPatch

    figure = Figure(figsize=(11.5, 3.7))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    for box in BOXES.values():
        x, y = center(box)
        corner = (x - WIDTH / 2, y - HEIGHT / 2)
        style = "round,pad=0,rounding_size=0.08"
        axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, style, facecolor=box.color, edgecolor="0.3", linewidth=1))
        files = "\n".join(file.removeprefix("exflow/") for file in box.files)
        text = {"ha": "center", "va": "center"}
        axes.text(
            x,
            y + (0.18 if len(box.files) == 1 else 0.15),
            files,
            fontsize=7.6,
            family="monospace",
            weight="bold",
            **text,
        )
        axes.text(x, y - (0.22 if len(box.files) == 1 else 0.27), box.what, fontsize=7.2, color="0.25", **text)
    for start, end, color, label in ROUTES:
        a, b = BOXES[start], BOXES[end]
        (ax, ay), (bx, by) = center(a), center(b)
        step_x, step_y = (bx > ax) - (bx < ax), (by > ay) - (by < ay)
        sideways = a.row == b.row
        tail = (ax + step_x * WIDTH / 2, ay) if sideways else (ax, ay + step_y * HEIGHT / 2)
        head = (bx - step_x * WIDTH / 2, by) if sideways else (bx, by - step_y * HEIGHT / 2)
        axes.annotate("", head, tail, arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 1.8})
        middle = ((tail[0] + head[0]) / 2, (tail[1] + head[1]) / 2)
        shift = (0.0, 0.16) if sideways else (0.12, 0.0)
        side = "center" if sideways else "left"
        axes.text(middle[0] + shift[0], middle[1] + shift[1], label, fontsize=7, color=color, ha=side)
    handles = [
        Line2D([], [], color=color, linewidth=2, label=label)
        for color, label in ((GREY, "calls"), (IMAGE, "images"), (BATCH, "batches"), (PARAMETER, "parameters"))
    ]
    axes.legend(handles=handles, loc="lower center", ncols=4, fontsize=8, frameon=False, bbox_to_anchor=(0.5, 0.0))
    xs, ys = zip(*(center(box) for box in BOXES.values()), strict=True)
    axes.set_xlim(min(xs) - WIDTH / 2 - 0.2, max(xs) + WIDTH / 2 + 0.2)
    axes.set_ylim(min(ys) - HEIGHT / 2 - 0.55, max(ys) + HEIGHT / 2 + 0.15)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    check()
    draw(ROOT / "docs" / "design.png")

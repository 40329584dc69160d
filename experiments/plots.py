"""Figures of experiments: axes saved as PNG with matplotlib, and frames around images with Pillow."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from exflow.evaluation.pictures.grids import grid_picture

RED, BLUE, GREY = (200, 30, 30), (30, 90, 200), "0.55"


@contextmanager
def figure(
    path: Path, columns: int = 1, rows: int = 1, width: float = 4.2, height: float = 3.0, projection: str | None = None
) -> Iterator[list[Any]]:
    """Axes of one figure, row by row, saved at the end; sizes in inches per axes, projection such as "3d"."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.subplots(rows, columns, squeeze=False, subplot_kw={"projection": projection}).ravel().tolist()
    yield axes
    for one in axes:
        one.tick_params(labelsize=8, which="both")
        if one.get_legend_handles_labels()[0]:
            one.legend(fontsize=7, frameon=False)
        if not one.has_data():
            one.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, dpi=110)


def count_axis(axes: Any, label: str) -> None:
    """Name the horizontal axis, whose values are counts: no ticks between whole numbers, nor around a single one."""
    axes.set_xlabel(label, fontsize=8)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)


def log_axis(axes: Any, scale: str = "log", **options: Any) -> None:
    """Make the vertical axis logarithmic, or "symlog", with plain numbers at its ticks; its limits are set before."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_ylim()
    axes.set_yscale(scale, **options)
    if scale == "log" and high < 30 * low:  # powers of ten alone would be none to two ticks
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5) if high > 5 * low else range(1, 10)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def band(axes: Any, x: Any, mean: np.ndarray, error: np.ndarray, **style: Any) -> None:
    """A curve with its standard error as a shade."""
    (line,) = axes.plot(x, mean, marker=".", linewidth=1.2, **style)
    axes.fill_between(x, mean - error, mean + error, color=line.get_color(), alpha=0.2, linewidth=0)


def mean_and_error(values: np.ndarray, mask: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the first axis and its standard error; of a 2-d array, over the rows where the mask is True."""
    mask = np.ones(values.shape, bool) if mask is None else mask
    number = mask.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):  # of one value the error is NaN, of none also the mean
        mean = np.where(mask, values, 0.0).sum(axis=0) / number
        square = np.where(mask, values - mean, 0.0) ** 2
        return mean, np.sqrt(square.sum(axis=0) / (number - 1)) / np.sqrt(number)


def beside(
    blocks: Mapping[str, np.ndarray], invert: bool, columns: Mapping[str, Sequence[str]] | None = None, gap: int = 14
) -> Image.Image:
    """Blocks of images [rows, columns, h, w, c] of as many rows beside each other.

    Each stands below its name, or below one title per column where `columns` has them.
    """
    titles = {name: _middle(name, images.shape[1]) for name, images in blocks.items()} | dict(columns or {})
    pictures = [grid_picture(images, None, invert, titles[name]) for name, images in blocks.items()]
    width = sum(picture.width + gap for picture in pictures) - gap
    canvas, left = Image.new(pictures[0].mode, (width, pictures[0].height), "white"), 0
    for picture in pictures:
        canvas.paste(picture, (left, 0))
        left += picture.width + gap
    return canvas


def _middle(title: str, columns: int) -> list[str]:
    """Titles of columns with the one of the block in the middle."""
    return [title if column == (columns - 1) // 2 else "" for column in range(columns)]


def framed_sequence(
    images: np.ndarray, red: np.ndarray, blue: np.ndarray, invert: bool, columns: int = 20
) -> Image.Image:
    """Images [set, h, w, c] in rows of `columns`, with a red frame where `red` and a blue one inside where `blue`."""
    size = len(images)
    rows, columns = -(-size // columns), min(columns, size)
    filled = np.full((rows * columns, *images.shape[1:]), 0 if invert else 255, np.uint8)
    filled[:size] = images
    picture = grid_picture(filled.reshape(rows, columns, *images.shape[1:]), invert=invert).convert("RGB")
    cell = ((picture.width - 1) // columns, (picture.height - 1) // rows)
    draw = ImageDraw.Draw(picture)
    for position in range(size):
        row, column = divmod(position, columns)
        left, top = column * cell[0], row * cell[1]
        for inset, present, color in ((0, red, RED), (3, blue, BLUE)):
            if present[position]:
                box = (left + inset, top + inset, left + cell[0] - inset, top + cell[1] - inset)
                draw.rectangle(box, outline=color, width=3)
    return picture

"""PNG files: grids of images with Pillow, density curves with matplotlib (imported only when one is drawn)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont

MIN_CELL = 56  # pixels of a cell; smaller images are enlarged by a whole factor
LINE = 225  # grey of the lines between cells
INK = 60  # grey of the titles


def looks_inverted(images: Shaped[np.ndarray, "..."]) -> bool:
    """Whether the images of a data set are bright ink on black in one channel, which is shown as dark ink on white.

    Asked of a whole split, so that one class does not look like its negative in the next picture.
    """
    return images.shape[-1] == 1 and float(images.mean()) < 127.5


def visible(
    images: Shaped[np.ndarray, "*lead height width channels"],
) -> Shaped[np.ndarray, "*lead height width shown"]:
    """Images of 1 to 4 channels in gray or colour, the second or fourth as opacity over white; of more, the mean."""
    channels = images.shape[-1]
    if channels in (1, 3):
        return images
    if channels > 4:
        return np.round(images.mean(axis=-1, keepdims=True)).astype(images.dtype)
    opacity = images[..., -1:] / 255
    return np.round(images[..., :-1] * opacity + 255 * (1 - opacity)).astype(images.dtype)


def grid_picture(
    samples: UInt8[np.ndarray, "rows columns height width channels"],
    support: UInt8[np.ndarray, "observations height width channels"] | None = None,
    invert: bool = False,
    titles: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> Image.Image:
    """Rows of images; a row of given images may stand above them, aligned right.

    Args:
      samples: Images; pixels 0..255, one to four channels.
      support: Given images, at most as many as columns.
      invert: Show 255 - pixel.
      titles: One short title per column.
      names: One short name per row, left of it; of the given images first, if there are any.

    Returns:
      Picture in grey or colour, images enlarged without smoothing.
    """
    samples, support = visible(samples), None if support is None else visible(support)
    rows, columns, height, width, channels = samples.shape
    factor = max(1, -(-MIN_CELL // max(height, width)))
    cell_height, cell_width = factor * height + 1, factor * width + 1
    top = 14 if titles else 0
    band = cell_height + 6 if support is not None else 0
    canvas = np.full((top + band + rows * cell_height + 1, columns * cell_width + 1, channels), LINE, np.uint8)
    canvas[:top] = 255
    canvas[top : top + band] = 255

    def paste(image: np.ndarray, y: int, column: int) -> None:
        image = (255 - image if invert else image).repeat(factor, axis=0).repeat(factor, axis=1)
        x = column * cell_width + 1
        canvas[y : y + cell_height - 1, x : x + cell_width - 1] = image

    if support is not None:
        first = columns - len(support)
        canvas[top : top + cell_height + 1, first * cell_width :] = LINE
        for column, image in enumerate(support):
            paste(image, top + 1, first + column)
    for row in range(rows):
        for column in range(columns):
            paste(samples[row, column], top + band + row * cell_height + 1, column)
    picture = Image.fromarray(canvas[..., 0] if channels == 1 else canvas)
    if titles:
        draw = ImageDraw.Draw(picture)
        font = ImageFont.load_default()
        for column, title in enumerate(titles):
            place = (column * cell_width + cell_width // 2, 1)
            draw.text(place, title, fill=INK if channels == 1 else (INK,) * 3, font=font, anchor="ma")
    if not names:
        return picture
    given = [] if support is None else [top + cell_height // 2]
    heights = [*given, *(top + band + row * cell_height + cell_height // 2 for row in range(rows))]
    return _with_names(picture, names, heights)


def _with_names(picture: Image.Image, names: Sequence[str], heights: Sequence[int]) -> Image.Image:
    """A picture with names left of it, each at its height."""
    font = ImageFont.load_default()
    margin = 6 + max(int(font.getlength(name)) for name in names)
    canvas = Image.new(picture.mode, (picture.width + margin, picture.height), "white")
    canvas.paste(picture, (margin, 0))
    draw = ImageDraw.Draw(canvas)
    for name, height in zip(names, heights, strict=True):
        ink = INK if picture.mode == "L" else (INK,) * 3
        draw.text((margin - 4, height), name, fill=ink, font=font, anchor="rm")
    return canvas


def captioned(picture: Image.Image, text: str) -> Image.Image:
    """A picture below a line of text that explains it."""
    font = ImageFont.load_default()
    canvas = Image.new("RGB", (max(picture.width, 8 + int(font.getlength(text))), picture.height + 18), "white")
    canvas.paste(picture, (0, 18))
    ImageDraw.Draw(canvas).text((4, 3), text, fill=(INK,) * 3, font=font)
    return canvas


def tile(pictures: Sequence[Image.Image], columns: int, gap: int = 12) -> Image.Image:
    """Pictures of equal size and mode in rows of `columns`."""
    width, height = pictures[0].size
    rows, columns = -(-len(pictures) // columns), min(columns, len(pictures))
    size = (columns * (width + gap) - gap, rows * (height + gap) - gap)
    canvas = Image.new(pictures[0].mode, size, "white")
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        canvas.paste(picture, (column * (width + gap), row * (height + gap)))
    return canvas


def save(path: Path, picture: Image.Image) -> Path:
    """Write a PNG file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, format="PNG")
    return path


def write_densities(
    path: Path,
    points: Float[np.ndarray, "panels points"],
    densities: Float[np.ndarray, "curves panels points"],
    curve_names: Sequence[str],
    panel_names: Sequence[str],
    observed: Float[np.ndarray, "observations panels"],
    limits: Float[np.ndarray, "panels 2"],
) -> Path:
    """Write one panel per latent dimension: a curve per number of observations and the observations as ticks.

    Args:
      path: PNG file; its folder is made.
      points: Where the densities are known, per panel.
      densities: Densities; the first curve is the prior.
      curve_names: Legend.
      panel_names: Titles.
      observed: Observations in the order in which they were given.
      limits: Range of values to show, per panel.

    Returns:
      `path`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * len(panel_names), 2.9), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, name in enumerate(panel_names):
        axes = figure.add_subplot(1, len(panel_names), panel + 1)
        for curve, label in enumerate(curve_names):
            shade = curve / max(len(curve_names) - 1, 1)
            blue = (0.8 - 0.8 * shade, 0.9 - 0.7 * shade, 1 - 0.5 * shade)  # from light to dark
            color, style = ("0.55", "--") if curve == 0 else (blue, "-")
            axes.plot(points[panel], densities[curve, panel], style, color=color, label=label, linewidth=1.4)
        axes.plot(
            observed[:, panel],
            np.zeros(len(observed)),
            "|",
            color="firebrick",
            markersize=16,
            clip_on=False,
            label="observed",
        )
        axes.set_xlim(*limits[panel])
        axes.set_ylim(bottom=0)
        axes.set_title(name, fontsize=9)
        axes.set_yticks([])
        axes.set_xlabel("value of the latent", fontsize=8)
        axes.locator_params(axis="x", nbins=5)
        axes.tick_params(labelsize=8)
    figure.axes[0].set_ylabel("predictive density", fontsize=8)
    figure.axes[0].legend(fontsize=7, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path

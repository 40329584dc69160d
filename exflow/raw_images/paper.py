"""Drawings on paper of any shade: which pixels are ink, and what the paper looks like below it.

The paper is assumed to change slowly over the picture (light from one side, shadows, a grey scan), to cover more than
half of it and to reach its border; ink is what differs from it, and all of it is darker or all of it lighter.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from PIL import Image, ImageFilter

SIDE = 64  # pixels of the longer side on which the paper is estimated
ROUNDS = 8  # of the fit, each without what the one before took for ink
SPREADS = 3.5  # standard deviations of the paper from which on a pixel is ink ...
LEAST = 16.0  # ... and at least so many levels
SMOOTHING = 8  # the paper is smooth over the longer side divided by this
ONE_SIDED = 0.5  # (darker - lighter) / (darker + lighter) of the ink, from which on its polarity is clear
MUCH_LESS = 0.75  # of the ink by the surface, which then has taken shadows for ink
CLEAN = 16  # levels from black or white within which paper needs no cleaning
SOLID_INK = 0.5  # quantile of the ink's depth that becomes full ink


SURROUNDINGS = 0.25  # of the longer side, whose median is paper where strokes are thin
BORDER = 16  # its width is the shorter side divided by this, at least one pixel

Estimate = Callable[[Float[np.ndarray, "h w"]], tuple[Float[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]]


class Paper(NamedTuple):
    """What is known of one drawing."""

    shade: Float[np.ndarray, "height width"]  # of the paper, in the place of ink as well
    ink: Bool[np.ndarray, "height width"]
    spread: float  # standard deviation of the paper's pixels, levels
    darker: float  # share of the ink's difference from the paper that is darkness, 0..1; 0.5 without ink


def find_paper(gray: UInt8[np.ndarray, "height width"]) -> Paper:
    """Estimate paper and ink of one picture: by a smooth surface, or by local medians where those leave less ink."""
    height, width = gray.shape
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = Image.fromarray(gray).resize(size, Image.Resampling.BOX)
    first = _paper_below(gray, small, _surface)
    if is_blank(first):
        return first
    second = _paper_below(gray, small, _local_medians)
    better = not is_one_sided(first) or second.ink.mean() < MUCH_LESS * first.ink.mean()
    return second if is_one_sided(second) and better else first


def is_one_sided(paper: Paper) -> bool:
    """Whether there is ink, all of it darker or all of it lighter than the paper, which covers the larger part."""
    share = max(float(paper.ink.mean()), float(border(paper.ink).mean()))
    return abs(2 * paper.darker - 1) >= ONE_SIDED and share <= 0.5


def is_blank(paper: Paper) -> bool:
    """Whether there is nothing but paper."""
    return paper.spread <= LEAST and not paper.ink.any()


def border(picture: Shaped[np.ndarray, "height width"]) -> Shaped[np.ndarray, " num"]:
    """The pixels along the four sides."""
    across = max(1, min(picture.shape) // BORDER)
    sides = picture[:across], picture[-across:], picture[:, :across], picture[:, -across:]
    return np.concatenate([side.ravel() for side in sides])


def _paper_below(gray: UInt8[np.ndarray, "height width"], small: Image.Image, estimate: Estimate) -> Paper:
    """The paper of a picture from the first estimate on a small copy of it."""
    height, width = gray.shape
    values = np.asarray(small, np.float64)
    shade, ink = estimate(values)
    shade = _smooth(values, ~ink, shade)
    spread = _spread((values - shade)[~ink])
    whole = np.asarray(Image.fromarray(shade.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR))
    difference = gray - whole.astype(np.float64)
    ink = np.abs(difference) > max(LEAST, SPREADS * spread)
    depth = np.abs(difference) * ink
    total = depth.sum()
    darker = float(depth[difference < 0].sum() / total) if total else 0.5
    return Paper(whole.astype(np.float64), ink, spread, darker)


def _surface(values: Float[np.ndarray, "h w"]) -> tuple[Float[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """A quadratic surface through the paper, and the ink: what is far from it."""
    y, x = (np.linspace(-1, 1, size) if size > 1 else np.zeros(1) for size in values.shape)
    y, x = np.broadcast_arrays(y[:, None], x[None])
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1).reshape(-1, 6)
    flat = values.ravel()
    shade = np.full(flat.shape, np.median(flat))
    paper = np.ones(flat.shape, bool)
    for round_ in range(ROUNDS):
        difference = flat - shade
        limit = max(LEAST, SPREADS * _spread(difference), (ROUNDS - 1 - round_) / ROUNDS * np.abs(difference).max())
        paper = np.abs(difference) <= limit
        weights = paper / (1 + (difference / LEAST) ** 2) ** 2
        weighted = terms * weights[:, None]
        shade = terms @ np.linalg.lstsq(weighted.T @ terms, weighted.T @ flat, rcond=None)[0]
    return shade.reshape(values.shape), ~paper.reshape(values.shape)


def _local_medians(values: Float[np.ndarray, "h w"]) -> tuple[Float[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """The median of the surroundings of every pixel, and what is far from it."""
    radius = max(1, round(max(values.shape) * SURROUNDINGS / 2))
    wide = np.pad(values, radius, mode="edge").round().astype(np.uint8)
    medians = np.asarray(Image.fromarray(wide).filter(ImageFilter.MedianFilter(2 * radius + 1)), np.float64)
    shade = medians[radius:-radius, radius:-radius]
    difference = values - shade
    return shade, np.abs(difference) > max(LEAST, SPREADS * _spread(difference))


def _smooth(
    values: Float[np.ndarray, "h w"], paper: Bool[np.ndarray, "h w"], shade: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """The surface and the slow part of what it leaves of the paper, a Gaussian mean of the pixels without ink."""
    width = max(values.shape) / SMOOTHING
    down, across = (np.exp(-0.5 * ((np.arange(size)[:, None] - np.arange(size)) / width) ** 2) for size in values.shape)
    mass = down @ paper @ across
    return shade + down @ ((values - shade) * paper) @ across / np.maximum(mass, 1e-9)


def _spread(difference: Float[np.ndarray, "..."]) -> float:
    """Standard deviation by the median of absolute values, which outliers do not move."""
    return float(1.4826 * np.median(np.abs(difference))) if difference.size else 0.0


def is_clean(paper: Paper) -> bool:
    """Whether the paper is white all over, of a picture with dark ink."""
    return float(paper.shade.min()) >= 255 - CLEAN


def whitened(gray: UInt8[np.ndarray, "height width"], paper: Paper) -> UInt8[np.ndarray, "height width"]:
    """A drawing in dark ink with its paper white and its ink black.

    Every pixel is divided by the paper below it, as reflected light is; what is as deep as the typical ink becomes
    black, and what is neither ink nor beside it becomes white, however noisy the paper is.
    """
    if not paper.ink.any():
        return np.full_like(gray, 255)
    shade = np.maximum(paper.shade, 1.0)
    depth, noise = 1 - gray / shade, paper.spread / shade
    beside = np.asarray(Image.fromarray(paper.ink.astype(np.uint8)).filter(ImageFilter.MaxFilter(3))) > 0
    full = np.quantile(depth[paper.ink], SOLID_INK)
    inked = np.clip((depth - noise) / np.maximum(full - noise, 1e-3), 0, 1) * beside
    return np.round(255 * (1 - inked)).astype(np.uint8)

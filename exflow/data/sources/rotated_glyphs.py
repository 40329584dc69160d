"""Procedural characters turned in steps of 10 degrees, as sets of 36 views, without a download.

The context of a view is (sin, cos) of the counter-clockwise rotation. Nothing is cut off.
"""

import numpy as np
from jaxtyping import Float

from exflow.data.building.strokes import Points, draw, random_character, write_character
from exflow.data.building.views import DEGREES, NUM_VIEWS, label_views, split_counts
from exflow.data.registry import LabelledImages, register
from exflow.errors import UserError

KERNEL_WIDTH = 0.04  # of the comparison of a glyph with itself turned, in widths of the image
MAX_SIMILARITY = 0.85  # of a glyph with itself turned by 30 to 330 degrees


def turn(points: Points, degrees: float) -> Points:
    """Points (to the right, down) turned counter-clockwise about the origin."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return points @ np.array([[cos, -sin], [sin, cos]])


def self_similarity(strokes: Float[np.ndarray, "num_strokes num_points 2"]) -> float:
    """How much strokes about the origin look like themselves turned by 30 to 330 degrees: 0 not at all, 1 the same.

    The largest normalised correlation of the density of ink, smoothed by a Gaussian of width `KERNEL_WIDTH`, with the
    turned density.
    """
    weight = np.hypot(*np.moveaxis(np.gradient(strokes, axis=1), -1, 0)).ravel()
    points = strokes.reshape(-1, 2)
    squares = (points**2).sum(axis=1)

    def correlation(degrees: float) -> float:
        distance = squares[:, None] + squares - 2 * points @ turn(points, degrees).T
        return weight @ np.exp(-distance / (4 * KERNEL_WIDTH**2)) @ weight

    return max(correlation(degrees) for degrees in DEGREES[3:19]) / correlation(0.0)


def glyph_strokes(seed: int, number: int) -> tuple[Float[np.ndarray, "num_strokes num_points 2"], float]:
    """One drawing of character `number` of a seed, its middle at the origin, and the radius of the pen.

    Lengths are in widths of the image; every rotation of the drawing stays inside.
    """
    rng = np.random.default_rng([seed, number])
    strokes = np.concatenate(write_character(random_character(rng), 1, rng))
    pen = rng.uniform(0.016, 0.023)
    strokes = strokes - (strokes.min(axis=(0, 1)) + strokes.max(axis=(0, 1))) / 2
    return strokes * min(1.0, (0.48 - pen) / np.hypot(strokes[..., 0], strokes[..., 1]).max()), pen


@register("rotated_glyphs", ink="bright")
def rotated_glyphs(
    image_size: int = 32, num_train: int = 600, num_validation: int = 100, num_test: int = 200, seed: int = 0
) -> LabelledImages:
    """Procedural characters turned by 0, 10, ..., 350 degrees: 600 / 100 / 200 drawings of 36 views; no download.

    An object is one drawing of one character of `glyphs`; train, validation and test are different characters. The
    trace is turned before it is drawn, so every view is as sharp as the others. Characters that look like themselves
    when turned (rings, crosses, short zigzags: one in twenty) are left out, so that a view tells its angle.

    Args:
      image_size: Height and width; the characters are the same at every size.
      num_train: Objects for training.
      num_validation: Objects for validation.
      num_test: Objects for test.
      seed: Of the alphabet.

    Raises:
      UserError: If a split is empty, the images are smaller than 4x4 or the seed is negative.
    """
    split = split_counts("rotated_glyphs", image_size, num_train, num_validation, num_test)
    if seed < 0:
        raise UserError(f"rotated_glyphs: expected seed >= 0, got {seed}.")
    views = np.empty((len(split), NUM_VIEWS, image_size, image_size, 1), np.uint8)
    found, number = 0, 0
    while found < len(split):
        strokes, pen = glyph_strokes(seed, number)
        number += 1
        if self_similarity(strokes[:, ::4]) > MAX_SIMILARITY:
            continue
        points = np.stack([turn(strokes.reshape(-1, 2), degrees) for degrees in DEGREES]) + 0.5
        views[found] = draw(points, np.full(NUM_VIEWS, pen), image_size)
        found += 1
    return label_views(views, DEGREES, split)

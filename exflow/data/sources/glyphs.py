"""Glyphs: a procedural alphabet, so that everything runs without a download.

A class is a character of one to four pen strokes (lines, arcs, zigzags, loops, dots), most of them attached to an
earlier stroke. Its images are drawings by different writers: control points, the place of every stroke, size, slant,
rotation, position and pen differ. A drawing is made like those of Omniglot: a black-and-white trace on a fine grid,
averaged down to the image. Class `c` of a seed is the same however many classes are made.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from exflow.data.registry import TEST, TRAIN, VALIDATION, LabelledImages, register
from exflow.errors import UserError

FINE_SIZE = 112  # pixels of the drawing grid, about that of Omniglot (105); lengths below are fractions of its width
POINTS_PER_STROKE = 120  # dense enough that a stroke of 1.5 widths has no gaps
CHUNK = 1000  # images drawn at a time
MAX_STROKES = 4
KINDS = ("line", "arc", "zigzag", "loop", "dot")
FIRST = {1: (0.0, 0.6, 0.4, 0.0, 0.0), 2: (0.0, 0.5, 0.25, 0.25, 0.0)}  # first stroke of few: probabilities of KINDS
TURNS = {"line": (0.0, 0.0), "arc": (0.45, 1.3), "zigzag": (1.0, 2.3)}  # radians per control point

Points = Float[np.ndarray, "... num_points 2"]  # (x, y) from left and from top


class Stroke(NamedTuple):
    """One pen stroke of a character: a curve through control points."""

    control: Float[np.ndarray, "num_control 2"]
    roundness: float  # 0 polygon, 1 smooth (Catmull-Rom) curve
    closed: bool


def curve_weights(num_control: int, num_points: int, roundness: float, closed: bool) -> Float[np.ndarray, "p k"]:
    """Matrix that turns control points into points of a Catmull-Rom curve, blended with the polygon."""
    num_pieces = num_control if closed else num_control - 1
    position = np.linspace(0, num_pieces, num_points)
    piece = np.minimum(position.astype(int), num_pieces - 1)
    t = (position - piece)[:, None]
    smooth = (
        np.concatenate([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], 1) / 2
    )
    straight = np.concatenate([0 * t, 1 - t, t, 0 * t], 1)
    blend = roundness * smooth + (1 - roundness) * straight
    neighbours = piece[:, None] + np.arange(-1, 3)
    neighbours = neighbours % num_control if closed else np.clip(neighbours, 0, num_control - 1)
    weights = np.zeros((num_points, num_control))
    np.add.at(weights, (np.arange(num_points)[:, None], neighbours), blend)
    return weights


def _random_stroke(rng: np.random.Generator, first_of: int = 0) -> Stroke:
    """A stroke around the origin. The first of one or two is not plain, or characters would look alike."""
    alone = first_of == 1
    kind = KINDS[rng.choice(len(KINDS), p=FIRST.get(first_of, (0.24, 0.34, 0.18, 0.18, 0.06)))]
    heading = rng.choice(8) * np.pi / 4 + rng.normal(0, 0.2)
    if kind == "loop":
        num = 6
        angle = heading + rng.choice([-1, 1]) * np.arange(num) * 2 * np.pi / num
        radius = rng.uniform(0.12, 0.3) * rng.uniform(0.8, 1.2, num)
        control = radius[:, None] * np.stack([np.cos(angle), rng.uniform(0.5, 1) * np.sin(angle)], axis=1)
        return Stroke(control, 1.0, bool(rng.random() < 0.7))
    if kind == "dot":
        step = rng.uniform(0.03, 0.1) * np.array([np.cos(heading), np.sin(heading)])
        return Stroke(np.stack([-step, step]), 0.0, False)
    num = 2 if kind == "line" else int(rng.integers(5, 7) if alone else rng.integers(3, 6))
    low, high = TURNS[kind]
    turn = rng.choice([-1, 1]) * rng.uniform(low, high, num - 1)
    if kind == "zigzag":
        turn = turn * (-1) ** np.arange(num - 1)
    headings = heading + np.cumsum(turn)
    length = rng.uniform(0.5, 0.9) / (num - 1) ** 0.7 * rng.uniform(0.6, 1.3, num - 1)
    steps = length[:, None] * np.stack([np.cos(headings), np.sin(headings)], axis=1)
    control = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    return Stroke(control, float(rng.random() < 0.75), False)


def random_character(rng: np.random.Generator) -> list[Stroke]:
    """Strokes of a new character inside the unit square."""
    strokes: list[Stroke] = []
    traces: list[np.ndarray] = []
    num_strokes = 1 + int(rng.choice(MAX_STROKES, p=[0.15, 0.35, 0.32, 0.18]))
    for number in range(num_strokes):
        stroke = _random_stroke(rng, 0 if number else num_strokes)
        while number == 0 and np.ptp(stroke.control, axis=0).max() < 0.25:
            stroke = _random_stroke(rng, num_strokes)
        weights = curve_weights(len(stroke.control), 33, stroke.roundness, stroke.closed)
        trace = weights @ stroke.control
        if number:
            other = traces[rng.integers(len(traces))]
            anchor = other[rng.choice([0, 8, 16, 24, 32])]
            if rng.random() < 0.3:  # not attached
                anchor = anchor + rng.normal(0, 0.22, 2)
            move = anchor - trace[rng.choice([0, 0, 16, 32])]
            stroke, trace = stroke._replace(control=stroke.control + move), trace + move
        strokes.append(stroke)
        traces.append(trace)
    every = np.concatenate(traces)
    low, high = every.min(axis=0), every.max(axis=0)
    scale = rng.uniform(0.58, 0.78) / (high - low).max()
    return [s._replace(control=(s.control - (low + high) / 2) * scale + 0.5) for s in strokes]


def write_character(strokes: list[Stroke], num_images: int, rng: np.random.Generator) -> list[Points]:
    """Strokes of `num_images` writers: per stroke, points [num_images, POINTS_PER_STROKE, 2]."""
    angle, slant = rng.normal(0, 0.1, num_images), rng.normal(0, 0.12, num_images)
    scale = np.exp(rng.normal(0, 0.12, (num_images, 1)) + rng.normal(0, 0.07, (num_images, 2)))
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([cos, slant - sin], -1), np.stack([sin, cos], -1)], -2)  # [num_images, 2, 2]
    transform = turn * scale[:, :, None]
    move = 0.5 + rng.normal(0, 0.045, (num_images, 1, 2))
    drawn = []
    for stroke in strokes:
        num = len(stroke.control)
        control = stroke.control + rng.normal(0, 0.02, (num_images, num, 2)) + rng.normal(0, 0.02, (num_images, 1, 2))
        points = curve_weights(num, POINTS_PER_STROKE, stroke.roundness, stroke.closed) @ control
        drawn.append((points - 0.5) @ np.swapaxes(transform, 1, 2) + move)
    return drawn


def draw(
    points: Float[np.ndarray, "num_images num_points 2"], pen: Float[np.ndarray, " num_images"], image_size: int
) -> UInt8[np.ndarray, "num_images image_size image_size 1"]:
    """Draw traces with a round pen on a fine grid and average down.

    Args:
      points: Close to each other along the strokes, in the unit square; NaN draws nothing, outside is cut.
      pen: Radius, in units of the image width.
      image_size: Height and width in pixels.
    """
    factor = max(1, round(FINE_SIZE / image_size))
    fine = image_size * factor
    radius = np.maximum(pen * fine, 0.5)
    reach = int(radius.max())
    side = fine + 2 * reach  # room for the pen at the border
    inside = np.all((points >= 0) & (points < 1), axis=-1)
    cell = np.where(inside[..., None], points * fine, 0).astype(np.int32)
    flat = (cell[..., 1] + reach) * side + cell[..., 0] + reach
    flat += (np.arange(len(points), dtype=np.int32) * side * side)[:, None]
    canvas = np.zeros(len(points) * side * side, np.uint8)
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            covered = (down**2 + right**2 <= radius**2)[:, None] & inside
            canvas[flat[covered] + (down * side + right)] = 1
    canvas = canvas.reshape(len(points), side, side)[:, reach : reach + fine, reach : reach + fine]
    blocks = canvas.reshape(len(points), image_size, factor, image_size, factor)
    ink = blocks.sum(axis=(2, 4), dtype=np.uint16).astype(np.float32) / factor**2
    return np.floor(255 * ink + 0.5).astype(np.uint8)[..., None]


def generate(
    num_classes: int, images_per_class: int = 20, image_size: int = 28, seed: int = 0, first_class: int = 0
) -> UInt8[np.ndarray, "num_classes images_per_class image_size image_size 1"]:
    """Images of the characters `first_class`, `first_class + 1`, ... of a seed.

    Args:
      num_classes: Number of characters.
      images_per_class: Writers per character.
      image_size: Height and width in pixels, at least 4.
      seed: Of the alphabet, at least 0.
      first_class: Number of the first character, at least 0.

    Raises:
      UserError: If a number is out of range.
    """
    if min(num_classes, images_per_class) < 1 or image_size < 4 or min(seed, first_class) < 0:
        raise UserError(
            "glyphs: expected num_classes and images_per_class >= 1, image_size >= 4, seed and first_class >= 0, "
            f"got {num_classes}, {images_per_class}, {image_size}, {seed}, {first_class}."
        )
    images = np.empty((num_classes, images_per_class, image_size, image_size, 1), np.uint8)
    per_chunk = max(1, CHUNK // images_per_class)
    for start in range(0, num_classes, per_chunk):
        stop = min(start + per_chunk, num_classes)
        points = np.full((stop - start, images_per_class, MAX_STROKES, POINTS_PER_STROKE, 2), np.nan, np.float32)
        pen = np.empty((stop - start, images_per_class))
        for number in range(stop - start):
            rng = np.random.default_rng([seed, first_class + start + number])
            for place, stroke in enumerate(write_character(random_character(rng), images_per_class, rng)):
                points[number, :, place] = stroke
            pen[number] = rng.uniform(0.016, 0.023, images_per_class)
        drawn = draw(points.reshape(-1, MAX_STROKES * POINTS_PER_STROKE, 2), pen.ravel(), image_size)
        images[start:stop] = drawn.reshape(stop - start, images_per_class, image_size, image_size, 1)
    return images


@register("glyphs", cache=False)
def glyphs(
    image_size: int = 28,
    num_train: int = 400,
    num_validation: int = 60,
    num_test: int = 100,
    images_per_class: int = 20,
    seed: int = 0,
) -> LabelledImages:
    """Procedural characters, ink bright, one channel; train, validation and test are different characters.

    Args:
      image_size: Height and width in pixels.
      num_train: Classes for training.
      num_validation: Classes for validation.
      num_test: Classes for test.
      images_per_class: Drawings per class.
      seed: Of the alphabet.
    """
    sizes = [num_train, num_validation, num_test]
    if min(sizes) < 1:
        raise UserError(f"glyphs: expected at least one class in every split, got {sizes}.")
    images = generate(sum(sizes), images_per_class, image_size, seed)
    labels = np.repeat(np.arange(sum(sizes), dtype=np.int32), images_per_class)
    split = np.repeat(np.array([TRAIN, VALIDATION, TEST], np.uint8), np.array(sizes) * images_per_class)
    return LabelledImages(images.reshape(-1, image_size, image_size, 1), labels, split)

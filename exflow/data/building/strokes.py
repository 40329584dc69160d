"""Characters of pen strokes: random ones, their drawings by different writers, and traces as pictures."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

FINE_SIZE = 112  # pixels of the drawing grid, about that of Omniglot (105); lengths below are fractions of its width
POINTS_PER_STROKE = 120  # dense enough that a stroke of 1.5 widths has no gaps
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

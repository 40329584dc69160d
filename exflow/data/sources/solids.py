"""Solids: procedural chairs and aeroplanes seen from all sides, a stand-in for ShapeNet that needs no download.

An object is a function of the seed and its number: about ten boxes and ellipsoids with random proportions, and parts
that some have and others lack (arm rests, slats, pedestals; swept wings, engines, T-tails). It turns on a turntable
under a fixed camera and light, so parts hide each other and brightness tells orientation.
"""

import numpy as np
from jaxtyping import Float

from exflow.data.building.render import Solid, cameras, fit, render
from exflow.data.building.views import DEGREES, NUM_VIEWS, label_views, split_counts
from exflow.data.registry import LabelledImages, register
from exflow.errors import UserError

ELEVATION = 30.0  # of the camera, degrees
SAMPLES = 3  # rays per pixel and axis
MARGIN = 0.94  # of the frame that the largest view fills

Matrix = Float[np.ndarray, "3 3"]


def rotation(axis: int, degrees: float) -> Matrix:
    """Turn about the x, y or z axis (0, 1, 2), counter-clockwise seen from its positive end; for rows of points."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[[first, first, second, second], [first, second, first, second]] = cos, sin, -sin, cos
    return matrix


class Parts:
    """Collects the parts of an object."""

    def __init__(self):
        self.parts = []

    def add(self, kind: str, centre, half, albedo: float, turn: Matrix | None = None) -> None:
        """A "box" or an "ellipsoid" around a centre with three half lengths, turned about its centre."""
        axes = np.diag(np.asarray(half, float)) @ (np.eye(3) if turn is None else turn)
        self.parts.append((np.asarray(centre, float), axes, kind == "box", albedo))

    def pair(self, kind: str, centre, half, albedo: float, turn: Matrix | None = None) -> None:
        """A part and its mirror image at the other side of the plane y = 0."""
        mirror = np.array([1.0, -1.0, 1.0])
        self.add(kind, centre, half, albedo, turn)
        turned = None if turn is None else np.diag(mirror) @ turn @ np.diag(mirror)
        self.add(kind, np.asarray(centre, float) * mirror, half, albedo, turned)

    def solid(self) -> Solid:
        """All parts together."""
        centre, axes, is_box, albedo = zip(*self.parts, strict=True)
        return Solid(np.stack(centre), np.stack(axes), np.array(is_box), np.array(albedo))


def chair(rng: np.random.Generator) -> Solid:
    """A chair that looks along x."""
    parts = Parts()
    seat, frame, back = rng.uniform(0.45, 1.0, 3)
    depth, width, thick = rng.uniform(0.42, 0.58), rng.uniform(0.42, 0.6), rng.uniform(0.05, 0.13)
    height, tall, leg = rng.uniform(0.5, 1.0), rng.uniform(0.45, 1.1), rng.uniform(0.045, 0.085)
    parts.add("box", (0, 0, 0), (depth, width, thick), seat)
    if rng.random() < 0.35:
        parts.add("ellipsoid", (0, 0, thick), (0.9 * depth, 0.9 * width, rng.uniform(0.1, 0.18)), seat)

    legs = rng.choice(["four", "pedestal", "panels"], p=[0.6, 0.2, 0.2])
    middle = -thick - height / 2
    if legs == "four":
        splay = rng.uniform(0, 14)
        for x, tilt in ((depth - leg, -splay), (leg - depth, splay)):
            parts.pair("box", (x, width - leg, middle), (leg, leg, height / 2), frame, rotation(1, tilt))
    elif legs == "pedestal":
        foot = rng.uniform(0.35, 0.5)
        parts.add("ellipsoid", (0, 0, middle), (1.6 * leg, 1.6 * leg, 0.6 * height), frame)
        parts.add("ellipsoid", (0, 0, -thick - height), (foot, foot, 0.07), frame)
    else:
        parts.pair("box", (0, width - leg, middle), (0.9 * depth, leg, height / 2), frame)

    tilt, upright = rotation(1, -rng.uniform(0, 16)), rng.uniform(0.04, 0.09)
    foot_of_back = np.array([upright - depth, 0, 0])

    def leaning(y: float, up: float) -> np.ndarray:
        return foot_of_back + np.array([0, y, up]) @ tilt

    style = rng.choice(["plate", "slats", "rails", "oval"], p=[0.4, 0.2, 0.25, 0.15])
    if style == "plate":
        parts.add("box", leaning(0.0, tall / 2), (upright, width * rng.uniform(0.8, 1), tall / 2), back, tilt)
    elif style == "oval":
        parts.add("box", leaning(0.0, tall / 4), (upright, leg, tall / 4), frame, tilt)
        parts.add("ellipsoid", leaning(0.0, 0.65 * tall), (1.3 * upright, 0.95 * width, 0.42 * tall), back, tilt)
    else:
        parts.pair("box", leaning(width - leg, tall / 2), (upright, leg, tall / 2), frame, tilt)
        top = rng.uniform(0.08, 0.16)
        parts.add("box", leaning(0.0, tall - top), (upright, width, top), back, tilt)
        if style == "slats":
            parts.add("box", leaning(0.0, tall / 2), (0.8 * upright, 1.5 * leg, tall / 2), back, tilt)
        else:
            parts.add("box", leaning(0.0, 0.45 * tall), (upright, width, top), back, tilt)
    if rng.random() < 0.4:
        rest = rng.uniform(0.28, 0.4)
        parts.pair("box", (0, width, thick + rest), (0.9 * depth, leg, 0.06), back)
        parts.pair("box", (0.6 * depth, width, thick + rest / 2), (leg, 0.9 * leg, rest / 2), frame)
    return parts.solid()


def aeroplane(rng: np.random.Generator) -> Solid:
    """An aeroplane that flies along x."""
    parts = Parts()
    body, wing, tail = rng.uniform(0.5, 1.0, 3)
    radius, sweep = rng.uniform(0.13, 0.21), rng.uniform(-5, 38)
    span, chord, thin = rng.uniform(0.38, 0.56), rng.uniform(0.14, 0.25), rng.uniform(0.03, 0.045)
    level = rng.choice([-0.6, 0.0, 0.8]) * radius
    place, dihedral = rng.uniform(-0.1, 0.2), rng.uniform(0, 7)
    parts.add("ellipsoid", (0, 0, 0), (1.0, radius, radius * rng.uniform(0.9, 1.2)), body)
    parts.add("ellipsoid", (rng.uniform(0.45, 0.6), 0, 0.7 * radius), (0.2, 0.6 * radius, 0.6 * radius), 0.35 * body)

    def panel(root, half_span: float, half_chord: float, back: float, rise: float, albedo: float) -> np.ndarray:
        """A pair of wings from their root, swept back and raised by angles; returns the middle of the left one."""
        turn = rotation(0, rise) @ rotation(2, back)
        middle = np.asarray(root) + np.array([0, half_span, 0]) @ turn
        parts.pair("box", middle, (half_chord, half_span, thin), albedo, turn)
        return middle

    middle = panel((place, 0.3 * radius, level), span, chord, sweep, dihedral, wing)
    engines = rng.choice(["none", "under", "rear", "nose"], p=[0.15, 0.45, 0.2, 0.2])
    size = rng.uniform(0.07, 0.11)
    if engines == "under":
        parts.pair("ellipsoid", middle + np.array([chord, -0.1 * span, -size]), (0.2, size, size), tail)
        if rng.random() < 0.4:
            outer = middle + (middle - np.array([place, 0, level])) * 0.5
            parts.pair("ellipsoid", outer + np.array([chord, 0, -size]), (0.17, 0.9 * size, 0.9 * size), tail)
    elif engines == "rear":
        parts.pair("ellipsoid", (-0.55, radius + size, 0.4 * radius), (0.2, size, size), tail)
    elif engines == "nose":
        blade = rotation(0, rng.uniform(0, 90))
        parts.add("box", (1.0, 0, 0), (0.02, 0.045, rng.uniform(0.24, 0.34)), tail, blade)

    tall, back = rng.uniform(0.18, 0.3), rng.uniform(10, 40)
    fin = rotation(1, -back)
    parts.add("box", np.array([-0.82, 0, 0.3 * radius]) + np.array([0, 0, tall]) @ fin, (0.12, thin, tall), tail, fin)
    tip = np.array([-0.82, 0, 0.3 * radius]) + np.array([0, 0, 1.9 * tall]) @ fin
    root = tip if rng.random() < 0.3 else np.array([-0.85, 0, 0.2 * radius])
    panel(root, rng.uniform(0.18, 0.27), 0.1, rng.uniform(0, 35), 0.0, tail)
    return parts.solid()


def solid_of(seed: int, number: int) -> Solid:
    """Object `number` of a seed: even ones are chairs, odd ones aeroplanes."""
    return (chair, aeroplane)[number % 2](np.random.default_rng([seed, number]))


@register("solids")
def solids(
    image_size: int = 32, num_train: int = 600, num_validation: int = 100, num_test: int = 200, seed: int = 0
) -> LabelledImages:
    """Procedural 3-D chairs and aeroplanes, 36 views each: 600 / 100 / 200 objects, shaded grey; no download.

    Objects alternate between chairs and aeroplanes and differ between the splits. Views are 10 degrees apart in azimuth
    at 30 degrees of elevation: orthographic, Lambert shading with light from the upper left, 3x3 rays per pixel.

    Args:
      image_size: Height and width.
      num_train: Objects for training.
      num_validation: Objects for validation.
      num_test: Objects for test.
      seed: Of the objects.

    Raises:
      UserError: If a split is empty, the images are smaller than 4x4 or the seed is negative.
    """
    split = split_counts("solids", image_size, num_train, num_validation, num_test)
    if seed < 0:
        raise UserError(f"solids: expected seed >= 0, got {seed}.")
    views = np.empty((len(split), NUM_VIEWS, image_size, image_size, 1), np.uint8)
    directions = cameras(DEGREES, ELEVATION)
    for number in range(len(split)):
        solid = fit(solid_of(seed, number), directions)
        solid = solid._replace(centre=MARGIN * solid.centre, axes=MARGIN * solid.axes)
        views[number] = render(solid, directions, image_size, SAMPLES)
    return label_views(views, DEGREES, split)

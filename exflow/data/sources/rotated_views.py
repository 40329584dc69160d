"""Pictures turned in steps of 10 degrees, as sets of 36 views: glyphs without a download, and data sets of TFDS.

The context of a view is (sin, cos) of the counter-clockwise rotation. Nothing is cut off: a picture that would leave
the frame when turned is made smaller, all its views alike.
"""

import numpy as np
from jaxtyping import Float, Float32, UInt8

from exflow.data.registry import SPLITS, LabelledImages, register
from exflow.data.sources.glyphs import Points, draw, random_character, write_character
from exflow.data.views import DEGREES, NUM_VIEWS, label_views, split_counts
from exflow.errors import UserError

MARGIN = 8 / 7  # width of the frame in widths of the source: 28x28 pictures fill the middle of 32x32
ZOOM_STEPS = 16  # pictures are made smaller in steps of 1/16, so that many share an operator
FINE_SIZE = 64  # samples along an axis, averaged down to the view
KERNEL_WIDTH = 0.04  # of the comparison of a glyph with itself turned, in widths of the image
MAX_SIMILARITY = 0.85  # of a glyph with itself turned by 30 to 330 degrees


def rotation_operator(
    side: int, image_size: int, degrees: float, zoom: float
) -> Float32[np.ndarray, "num_view_pixels num_pixels"]:
    """Matrix from the side x side pixels of a picture to the pixels of its view, turned counter-clockwise.

    A pixel of the view is the mean over a grid of samples of the bilinear interpolation of the picture, which is zero
    outside.

    Args:
      side: Height and width of the picture.
      image_size: Height and width of the view.
      degrees: Angle of rotation about the centre.
      zoom: 1 for a frame of `MARGIN` widths of the picture, more for a smaller picture.
    """
    factor = max(1, round(FINE_SIZE / image_size))
    fine = image_size * factor
    sample = ((np.arange(fine) + 0.5) / fine - 0.5) * MARGIN * side * zoom  # pixels of the picture, from its centre
    x, y = sample[None, :], sample[:, None]  # to the right, down
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    column, row = (x * cos - y * sin).ravel() + (side - 1) / 2, (x * sin + y * cos).ravel() + (side - 1) / 2
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    pixel = np.arange(fine) // factor
    target = (pixel[:, None] * image_size + pixel).ravel()
    matrix = np.zeros(image_size**2 * side**2)
    for right, below in ((0, 0), (0, 1), (1, 0), (1, 1)):
        i, j = top + below, left + right
        weight = (1 - np.abs(row - i)) * (1 - np.abs(column - j)) / factor**2
        inside = (i >= 0) & (i < side) & (j >= 0) & (j < side)
        entry = target * side**2 + i * side + j
        matrix += np.bincount(entry[inside], weight[inside], len(matrix))
    return matrix.reshape(image_size**2, side**2).astype(np.float32)


def rotated_views(
    pictures: UInt8[np.ndarray, "num_objects side side 1"], image_size: int
) -> UInt8[np.ndarray, "num_objects 36 image_size image_size 1"]:
    """All views of pictures with bright ink on black, each made as much smaller as its ink needs to stay inside."""
    num_objects, side = pictures.shape[:2]
    offset = np.arange(side) - (side - 1) / 2
    distance = np.hypot(offset[:, None], offset)
    reach = ((pictures[..., 0] > 0) * distance[None]).max(axis=(1, 2)) + np.sqrt(2)  # a bilinear pixel fades in 1 x 1
    zoom_steps = np.maximum(np.ceil(ZOOM_STEPS * reach / (MARGIN * side / 2)).astype(int), ZOOM_STEPS)
    flat = pictures.reshape(num_objects, -1).astype(np.float32)
    views = np.empty((num_objects, NUM_VIEWS, image_size**2), np.uint8)
    for steps in np.unique(zoom_steps):
        rows = np.flatnonzero(zoom_steps == steps)
        for number, degrees in enumerate(DEGREES):
            operator = rotation_operator(side, image_size, degrees, steps / ZOOM_STEPS)
            views[rows, number] = np.floor((operator @ flat[rows].T).T + 0.5)
    return views.reshape(num_objects, NUM_VIEWS, image_size, image_size, 1)


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


@register("rotated_glyphs")
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


def _from_base(
    base: str, image_size: int, num_train: int, num_validation: int, num_test: int, seed: int
) -> LabelledImages:
    """Views of pictures drawn at random from the splits of another data set, at its default options."""
    from exflow.data import datasets  # which imports this module

    name = f"rotated_{base}"
    split = split_counts(name, image_size, num_train, num_validation, num_test)
    if seed < 0:
        raise UserError(f"{name}: expected seed >= 0, got {seed}.")
    data = datasets.load_labelled(base)
    rng = np.random.default_rng(seed)
    chosen = []
    for number, part in enumerate(SPLITS):
        rows, count = np.flatnonzero(data.split == number), int((split == number).sum())
        if count > len(rows):
            raise UserError(f"{name}: expected num_{part} of at most {len(rows)}, the images of {base}, got {count}.")
        chosen.append(np.sort(rng.choice(rows, count, replace=False)))
    return label_views(rotated_views(data.images[np.concatenate(chosen)], image_size), DEGREES, split)


@register("rotated_mnist")
def rotated_mnist(
    image_size: int = 32, num_train: int = 5000, num_validation: int = 500, num_test: int = 1000, seed: int = 0
) -> LabelledImages:
    """MNIST digits turned by 0, 10, ..., 350 degrees: 5,000 / 500 / 1,000 digits of 36 views, split by image.

    An object is one image of `mnist`, drawn at random from the split of the same name. Digits at 32x32 have their
    original size. Some cannot be told from themselves turned by 180 degrees (0, 1, 8) or from others (6, 9).

    Args:
      image_size: Height and width.
      num_train: Objects for training, at most 55,000.
      num_validation: Objects for validation, at most 5,000.
      num_test: Objects for test, at most 10,000.
      seed: Of the choice of objects.

    Raises:
      UserError: If a number is out of range, or MNIST cannot be had; says how to get it.

    Source: LeCun, Cortes and Burges, through TFDS; licence commonly given as CC BY-SA 3.0.
    """
    return _from_base("mnist", image_size, num_train, num_validation, num_test, seed)


@register("rotated_fashion_mnist")
def rotated_fashion_mnist(
    image_size: int = 32, num_train: int = 5000, num_validation: int = 500, num_test: int = 1000, seed: int = 0
) -> LabelledImages:
    """Fashion-MNIST turned by 0, 10, ..., 350 degrees: 5,000 / 500 / 1,000 garments of 36 views, split by image.

    An object is one image of `fashion_mnist`, drawn at random from the split of the same name, and made smaller so that
    its corners stay in the frame.

    Args:
      image_size: Height and width.
      num_train: Objects for training, at most 55,000.
      num_validation: Objects for validation, at most 5,000.
      num_test: Objects for test, at most 10,000.
      seed: Of the choice of objects.

    Raises:
      UserError: If a number is out of range, or Fashion-MNIST cannot be had; says how to get it.

    Source: Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747, through TFDS; MIT licence.
    """
    return _from_base("fashion_mnist", image_size, num_train, num_validation, num_test, seed)


@register("rotated_omniglot")
def rotated_omniglot(
    image_size: int = 32, num_train: int = 5000, num_validation: int = 500, num_test: int = 1000, seed: int = 0
) -> LabelledImages:
    """Omniglot turned by 0, 10, ..., 350 degrees: 5,000 / 500 / 1,000 drawings of 36 views, split by character.

    An object is one drawing of `omniglot` (28x28, ink bright), drawn at random from the split of the same name
    (Vinyals et al. 2016), so the characters of test are not seen in training. One character gives several objects. Some
    look like themselves when turned.

    Args:
      image_size: Height and width.
      num_train: Objects for training, at most 20,560.
      num_validation: Objects for validation, at most 3,440.
      num_test: Objects for test, at most 8,460.
      seed: Of the choice of objects.

    Raises:
      UserError: If a number is out of range, or Omniglot cannot be had; says how to get it.

    Source: Lake, Salakhutdinov and Tenenbaum 2015, through TFDS; MIT licence.
    """
    return _from_base("omniglot", image_size, num_train, num_validation, num_test, seed)

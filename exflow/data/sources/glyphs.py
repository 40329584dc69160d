"""Glyphs: a procedural alphabet, so that everything runs without a download.

A class is a character of one to four pen strokes (lines, arcs, zigzags, loops, dots), most of them attached to an
earlier stroke. Its images are drawings by different writers: control points, the place of every stroke, size, slant,
rotation, position and pen differ. A drawing is made like those of Omniglot: a black-and-white trace on a fine grid,
averaged down to the image. Class `c` of a seed is the same however many classes are made.
"""

import numpy as np
from jaxtyping import UInt8

from exflow.data.building.strokes import MAX_STROKES, POINTS_PER_STROKE, draw, random_character, write_character
from exflow.data.registry import TEST, TRAIN, VALIDATION, LabelledImages, register
from exflow.errors import UserError

CHUNK = 1000  # images drawn at a time


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


@register("glyphs", cache=False, ink="dark")
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

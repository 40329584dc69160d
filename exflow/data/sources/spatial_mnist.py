"""Spatial MNIST: digits as sets of points in the plane, the second experiment of the Neural Statistician."""

import numpy as np
from jaxtyping import Float32, Int, UInt8

from exflow.data.building.options import check_at_least, check_choice
from exflow.data.building.vectors import label_vectors
from exflow.data.labelled import load_labelled
from exflow.data.registry import SPLITS, LabelledImages, register
from exflow.errors import UserError

SIZE = 28  # height and width of MNIST, and the range of the coordinates
CHUNK = 2000  # images at a time


def draw_pixels(
    rng: np.random.Generator, images: UInt8[np.ndarray, "num pixels"], num_points: int
) -> Int[np.ndarray, "num {num_points}"]:
    """Indices of pixels drawn with probability proportional to intensity.

    Without replacement where an image has enough lit pixels, else with it. Successive draws without replacement are the
    smallest of exponential waiting times with the intensities as rates.
    """
    rate = images.astype(np.float64)
    with np.errstate(divide="ignore"):
        waiting = rng.exponential(size=rate.shape) / rate
    pixels = np.argpartition(waiting, num_points - 1, axis=1)[:, :num_points]
    few = (images > 0).sum(axis=1) < num_points
    total = rate[few].cumsum(axis=1)
    threshold = rng.random((few.sum(), num_points)) * total[:, -1:]
    pixels[few] = (total[:, None] <= threshold[:, :, None]).sum(axis=2)
    return pixels


def draw_points(
    rng: np.random.Generator, images: UInt8[np.ndarray, "num 28 28 1"], num_points: int
) -> Float32[np.ndarray, "num {num_points} 2"]:
    """Points (x, y) of every image: a drawn pixel's place plus uniform noise in it; y points up, range [0, 28)."""
    parts = []
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK].reshape(-1, SIZE * SIZE)
        row, column = np.divmod(draw_pixels(rng, chunk, num_points), SIZE)
        points = np.stack([column, SIZE - 1 - row], axis=2) + rng.random((*row.shape, 2))
        parts.append(points.astype(np.float32))
    largest = np.nextafter(np.float32(SIZE), np.float32(0))  # float32 rounds 27.9999999 up
    return np.minimum(np.concatenate(parts), largest)


@register("spatial_mnist", cache=False)
def spatial_mnist(
    num_points: int = 50,
    num_train: int = 10_000,
    num_validation: int = 1_000,
    num_test: int = 10_000,
    without_one: str = "yes",
    seed: int = 0,
) -> LabelledImages:
    """MNIST digits as sets of points; every digit image is a class, every element a point (x, y) with y up, in [0, 28).

    Pixels are drawn with probability proportional to intensity, without replacement unless an image has fewer lit
    pixels than points, and uniform noise is added inside the pixel. So a density of points is uniform at -6.66 nats.
    The context of a point is the digit, a label for figures. The images are the first of each split of `mnist`, in
    its order; cached as `mnist`.

    Args:
      num_points: Points of a set.
      num_train: Images looked at for training, before ones are left out.
      num_validation: The same for validation.
      num_test: The same for test.
      without_one: "yes" leaves out the digit 1, which has few lit pixels, as the published experiment does; or "no".
      seed: Of all draws, at least 0.

    Raises:
      UserError: If an option is not valid or larger than the split; as for `mnist`.

    Source: Edwards and Storkey 2017, "Towards a neural statistician", arXiv:1606.02185.
    """
    name = "spatial_mnist"
    check_choice(name, "without_one", without_one, ("yes", "no"))
    check_at_least(name, 1, num_train=num_train, num_validation=num_validation, num_test=num_test)
    check_at_least(name, 1, num_points=num_points)
    check_at_least(name, 0, seed=seed)
    if num_points > SIZE * SIZE:
        raise UserError(f"{name}: expected num_points of at most {SIZE * SIZE}, the pixels, got {num_points}.")
    data = load_labelled("mnist")
    parts = []
    for number, size in enumerate((num_train, num_validation, num_test)):
        rows = np.flatnonzero(data.split == number)
        if size > len(rows):
            part = SPLITS[number]
            raise UserError(f"{name}: expected num_{part} of at most {len(rows)}, the {part} images, got {size}.")
        rows = rows[:size]
        rows = rows[data.labels[rows] != 1] if without_one == "yes" else rows
        points = draw_points(np.random.default_rng([seed, number]), data.images[rows], num_points)
        parts.append((points, data.labels[rows, None].astype(np.float32)))
    return label_vectors(parts)

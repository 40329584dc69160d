"""Pictures turned in steps of 10 degrees.

Nothing is cut off: a picture that would leave the frame when turned is made smaller, all its views alike.
"""

import numpy as np
from jaxtyping import Float32, UInt8

from exflow.data.building.views import DEGREES, NUM_VIEWS

MARGIN = 8 / 7  # width of the frame in widths of the source: 28x28 pictures fill the middle of 32x32
ZOOM_STEPS = 16  # pictures are made smaller in steps of 1/16, so that many share an operator
FINE_SIZE = 64  # samples along an axis, averaged down to the view


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

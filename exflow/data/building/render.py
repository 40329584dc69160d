"""A plain renderer of objects made of boxes and ellipsoids: orthographic, ray casting, Lambert shading, NumPy only."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

AMBIENT = 0.35  # brightness of what the light does not reach, of its albedo
LIGHT = np.array([-0.55, 0.6, 0.58])  # towards the light: from the left, from above, from the camera
FLAT = 1e-6  # smallest slope of a face against the line of sight


class Solid(NamedTuple):
    """Parts of an object; z points up."""

    centre: Float[np.ndarray, "num_parts 3"]
    axes: Float[np.ndarray, "num_parts 3 3"]  # rows: half axes, orthogonal to each other
    is_box: Bool[np.ndarray, " num_parts"]  # else an ellipsoid
    albedo: Float[np.ndarray, " num_parts"]  # 0 black to 1 white


def cameras(azimuth: Float[np.ndarray, " num_views"], elevation: float) -> Float[np.ndarray, "num_views 3 3"]:
    """Rows (right, up, towards the camera) in the coordinates of an object that is turned before a fixed camera.

    At azimuth 0 its x axis points to the camera and y to the right; it turns counter-clockwise seen from above.

    Args:
      azimuth: Of the object, degrees.
      elevation: Of the camera above the horizon, degrees.
    """
    angle, height = np.deg2rad(azimuth), np.deg2rad(elevation)
    zero, one = np.zeros_like(angle), np.ones_like(angle)
    rows = np.array([[0, 1, 0], [-np.sin(height), 0, np.cos(height)], [np.cos(height), 0, np.sin(height)]])
    turn = np.array([[np.cos(angle), -np.sin(angle), zero], [np.sin(angle), np.cos(angle), zero], [zero, zero, one]])
    return rows @ np.moveaxis(turn, -1, 0)


def reach(
    solid: Solid, views: Float[np.ndarray, "num_views 3 3"]
) -> tuple[Float[np.ndarray, "num_views 3 num_parts"], Float[np.ndarray, "num_views 3 num_parts"]]:
    """Smallest and largest coordinate of every part to the right, up and towards the camera."""
    along = np.abs(np.einsum("vik,pak->viap", views, solid.axes))
    half = np.where(solid.is_box, along.sum(axis=2), np.sqrt((along**2).sum(axis=2)))
    middle = views @ solid.centre.T
    return middle - half, middle + half


def fit(solid: Solid, views: Float[np.ndarray, "num_views 3 3"]) -> Solid:
    """The solid moved along z and scaled so that it stays between -1 and 1 in every view and touches it in one."""
    low, high = (bound[:, 1] for bound in reach(solid, views))
    centre = solid.centre - np.array([0, 0, (low.min() + high.max()) / 2 / views[0, 1, 2]])
    moved = solid._replace(centre=centre)
    size = max(np.abs(bound[:, :2]).max() for bound in reach(moved, views))
    return moved._replace(centre=centre / size, axes=solid.axes / size)


def _box(
    inverse: Float32[np.ndarray, "num_views 3 3"],
    right: Float32[np.ndarray, "num_views 1 width"],
    up: Float32[np.ndarray, "num_views height 1"],
) -> tuple[Float32[np.ndarray, "num_views height width"], Float32[np.ndarray, "num_views height width"]]:
    """Depth above the centre of the first hit of a box (-inf: none) and the cosine of light and normal."""
    slope = inverse[:, :, 2]
    slope = np.where(np.abs(slope) < FLAT, np.copysign(np.float32(FLAT), slope), slope)
    light = LIGHT.astype(np.float32) / np.float32(np.linalg.norm(LIGHT))
    cosine = np.sign(slope) * (inverse @ light) / np.linalg.norm(inverse, axis=-1)
    shape = len(inverse), up.shape[1], right.shape[2]
    entry, leave = np.full(shape, np.inf, np.float32), np.full(shape, -np.inf, np.float32)
    shade = np.zeros(shape, np.float32)
    for axis in range(3):
        across = -inverse[:, axis, 0, None, None] / slope[:, axis, None, None] * right
        middle = across - inverse[:, axis, 1, None, None] / slope[:, axis, None, None] * up
        half = 1 / np.abs(slope[:, axis, None, None])
        near = middle + half
        shade = np.where(near < entry, cosine[:, axis, None, None], shade)
        entry, leave = np.minimum(entry, near), np.maximum(leave, middle - half)
    return np.where(entry >= leave, entry, -np.inf).astype(np.float32), shade


def _ellipsoid(
    inverse: Float32[np.ndarray, "num_views 3 3"],
    right: Float32[np.ndarray, "num_views 1 width"],
    up: Float32[np.ndarray, "num_views height 1"],
) -> tuple[Float32[np.ndarray, "num_views height width"], Float32[np.ndarray, "num_views height width"]]:
    """The same for an ellipsoid, the points with x' G x = 1."""
    form = (np.swapaxes(inverse, 1, 2) @ inverse)[..., None, None]
    linear = form[:, 0, 2] * right + form[:, 1, 2] * up
    constant = form[:, 0, 0] * right**2 + 2 * form[:, 0, 1] * right * up + form[:, 1, 1] * up**2 - 1
    root = linear**2 - form[:, 2, 2] * constant
    depth = (np.sqrt(np.maximum(root, 0)) - linear) / form[:, 2, 2]
    normal = [form[:, row, 0] * right + form[:, row, 1] * up + form[:, row, 2] * depth for row in range(3)]
    light = LIGHT.astype(np.float32) / np.float32(np.linalg.norm(LIGHT))
    along = normal[0] * light[0] + normal[1] * light[1] + normal[2] * light[2]
    length = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2)
    return np.where(root > 0, depth, -np.inf).astype(np.float32), along / np.maximum(length, FLAT)


def cast(
    solid: Solid, views: Float[np.ndarray, "num_views 3 3"], side: int
) -> tuple[Float32[np.ndarray, "num_views side side"], Float32[np.ndarray, "num_views side side"]]:
    """One ray through the middle of each pixel of the square from -1 to 1.

    Args:
      solid: The object.
      views: Of `cameras`.
      side: Pixels along an axis.

    Only the rows and columns that a part reaches in any view are computed.

    Returns:
      Height of the nearest point towards the camera (-inf where there is none) and its brightness, 0 to 1.
    """
    grid = (2 * (np.arange(side, dtype=np.float32) + 0.5) / side - 1).astype(np.float32)
    depth = np.full((len(views), side, side), -np.inf, np.float32)
    brightness = np.zeros_like(depth)
    low, high = reach(solid, views)
    first = np.clip(np.floor((low[:, :2].min(axis=0) + 1) / 2 * side), 0, side).astype(int)
    last = np.clip(np.ceil((high[:, :2].max(axis=0) + 1) / 2 * side), 0, side).astype(int)
    for part, (centre, axes, is_box, albedo) in enumerate(zip(*solid, strict=True)):
        across, down = slice(first[0, part], last[0, part]), slice(side - last[1, part], side - first[1, part])
        middle = (views @ centre).astype(np.float32)
        inverse = axes / (axes**2).sum(axis=1, keepdims=True)  # to coordinates in which the part reaches from -1 to 1
        inverse = (inverse @ np.swapaxes(views, 1, 2)).astype(np.float32)
        right = grid[None, None, across] - middle[:, 0, None, None]
        up = -grid[None, down, None] - middle[:, 1, None, None]
        hit, cosine = (_box if is_box else _ellipsoid)(inverse, right, up)
        hit = hit + middle[:, 2, None, None]
        front = hit > depth[:, down, across]
        lit = np.float32(albedo) * (AMBIENT + (1 - AMBIENT) * np.maximum(cosine, 0))
        depth[:, down, across] = np.where(front, hit, depth[:, down, across])
        brightness[:, down, across] = np.where(front, lit, brightness[:, down, across])
    return depth, brightness


def render(
    solid: Solid, views: Float[np.ndarray, "num_views 3 3"], image_size: int, samples: int
) -> UInt8[np.ndarray, "num_views image_size image_size 1"]:
    """Pictures on black, each pixel the mean of samples x samples rays."""
    brightness = cast(solid, views, image_size * samples)[1]
    blocks = brightness.reshape(len(views), image_size, samples, image_size, samples)
    return np.floor(255 * blocks.mean(axis=(2, 4)) + 0.5).astype(np.uint8)[..., None]

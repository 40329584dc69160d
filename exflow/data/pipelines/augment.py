"""Augmentation of uint8 images inside the compiled step: random affine warps, and reduction of the resolution."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, UInt8

from exflow.errors import UserError
from exflow.typing import PRNGKey


def warp_affine(
    images: UInt8[Array, "*batch height width channels"],
    matrix: Float[Array, "*batch 2 2"],
    offset: Float[Array, "*batch 2"],
) -> UInt8[Array, "*batch height width channels"]:
    """Sample every image at `matrix @ (row, column) + offset`, bilinearly, with zeros outside, rounded half up.

    The convention and the values are those of `scipy.ndimage.affine_transform(order=1, mode="grid-constant")`. Only
    one memory access per output pixel: the four neighbours are packed into one word beforehand.

    Args:
      images: Pixels 0..255.
      matrix: From output to input coordinates, in pixels.
      offset: Input coordinates of output pixel (0, 0).
    """
    *batch, height, width, channels = images.shape
    # Word (i, j) holds the pixels (i - 1, j - 1), (i - 1, j), (i, j - 1) and (i, j) of the image with its zero border.
    padded = jnp.pad(images, [(0, 0)] * len(batch) + [(1, 1), (1, 1), (0, 0)]).astype(jnp.uint32)
    upper = padded[..., :-1, :-1, :] | padded[..., :-1, 1:, :] << 8
    lower = padded[..., 1:, :-1, :] | padded[..., 1:, 1:, :] << 8
    words = (upper | lower << 16).reshape(-1, (height + 1) * (width + 1), channels)

    row, column = jnp.arange(height, dtype=matrix.dtype)[:, None], jnp.arange(width, dtype=matrix.dtype)[None, :]
    down, right = (
        matrix[..., axis, 0, None, None] * jnp.expand_dims(row, range(len(batch)))
        + matrix[..., axis, 1, None, None] * jnp.expand_dims(column, range(len(batch)))
        + offset[..., axis, None, None]
        for axis in range(2)
    )
    down, right = jnp.clip(down, -1, height), jnp.clip(right, -1, width)
    i, j = jnp.minimum(jnp.floor(down), height - 1), jnp.minimum(jnp.floor(right), width - 1)
    down, right = (down - i)[..., None], (right - j)[..., None]
    place = ((i + 1) * (width + 1) + j + 1).astype(jnp.int32).reshape(-1, height * width)
    word = jnp.take_along_axis(words, place[..., None], axis=1, mode="promise_in_bounds").reshape(images.shape)
    pixels = [((word >> shift) & 255).astype(matrix.dtype) for shift in (0, 8, 16, 24)]
    above = pixels[0] + right * (pixels[1] - pixels[0])
    below = pixels[2] + right * (pixels[3] - pixels[2])
    return jnp.floor(above + down * (below - above) + 0.5).astype(jnp.uint8)


def random_affine(
    key: PRNGKey,
    images: UInt8[Array, "*batch height width channels"] | Float32[Array, "*batch 1 1 dim"],
    *,
    rotation_degrees: float = 0.0,
    scale: float = 0.0,
    shear: float = 0.0,
    translation: float = 0.0,
    flip_horizontal: float = 0.0,
    flip_vertical: float = 0.0,
    probability: float = 1.0,
    per_set: bool = False,
) -> UInt8[Array, "*batch height width channels"]:
    """Warp images at random about their centres; what leaves the image is lost, what enters is zero.

    Args:
      key: Of all draws.
      images: Pixels 0..255, any leading axes; vectors are refused.
      rotation_degrees: Angles are uniform in plus or minus this.
      scale: Logarithms of the factors of height and of width are uniform in plus or minus this.
      shear: Slants (horizontal shift per vertical pixel) are uniform in plus or minus this.
      translation: Shifts are uniform in plus or minus this fraction of height and width.
      flip_horizontal: Probability that left and right change places before the warp, in what is warped at all.
      flip_vertical: The same for up and down.
      probability: Of an image being warped at all, 0..1.
      per_set: Whether all images of a set (the last leading axis) get the same warp, which then is a property of the
        class and not of the drawing. Else every image gets its own.

    Raises:
      UserError: If a number is out of range, or the images are vectors.
    """
    if images.dtype != jnp.uint8:
        raise UserError(
            f"augmentation: expected pictures of uint8 pixels, got {images.dtype} vectors, which cannot be warped. Set "
            "--config.data.augment.probability=0 --config.data.augment_set.probability=0."
        )
    ranges = {"rotation_degrees": rotation_degrees, "scale": scale, "shear": shear, "translation": translation}
    chances = {"flip_horizontal": flip_horizontal, "flip_vertical": flip_vertical, "probability": probability}
    if min(ranges.values()) < 0 or not all(0 <= chance <= 1 for chance in chances.values()):
        got = ", ".join(f"{name}={value}" for name, value in (ranges | chances).items())
        raise UserError(f"augmentation: expected ranges of at least 0 and probabilities in 0..1, got {got}.")
    *batch, height, width, _ = images.shape
    shape = (*batch[:-1], 1) if per_set else tuple(batch)
    unit_key, chance_key = jax.random.split(key)
    chosen = jax.random.uniform(chance_key, (1, *shape)) < probability
    unit = jnp.where(chosen, jax.random.uniform(unit_key, (6, *shape), minval=-1.0, maxval=1.0), 0.0)
    angle = jnp.deg2rad(rotation_degrees) * unit[0]
    zoom_down, zoom_right = jnp.exp(-scale * unit[1]), jnp.exp(-scale * unit[2])  # input pixels per output pixel
    mirror = jax.random.uniform(jax.random.fold_in(key, 2), (2, *shape))  # a third key beside the two of the split
    zoom_down = jnp.where(chosen[0] & (mirror[0] < flip_vertical), -zoom_down, zoom_down)
    zoom_right = jnp.where(chosen[0] & (mirror[1] < flip_horizontal), -zoom_right, zoom_right)
    slant = shear * unit[3]
    centre_down, centre_right = (height - 1) / 2, (width - 1) / 2
    from_down, from_right = centre_down + translation * height * unit[4], centre_right + translation * width * unit[5]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    # From output to input coordinates: turn, slant, then zoom (negative: mirror).
    down = zoom_down * cos, -zoom_down * sin
    right = zoom_right * (sin + slant * cos), zoom_right * (cos - slant * sin)
    offset_down = centre_down - down[0] * from_down - down[1] * from_right
    offset_right = centre_right - right[0] * from_down - right[1] * from_right
    matrix = jnp.stack([jnp.stack(down, axis=-1), jnp.stack(right, axis=-1)], axis=-2)
    offset = jnp.stack([offset_down, offset_right], axis=-1)
    return warp_affine(images, jnp.broadcast_to(matrix, (*batch, 2, 2)), jnp.broadcast_to(offset, (*batch, 2)))


def downscale(
    images: UInt8[Array, "*batch height width channels"], factor: int
) -> UInt8[Array, "*batch new_height new_width channels"]:
    """Mean over blocks of factor x factor pixels, rounded half up, in exact integer arithmetic.

    Raises:
      UserError: If the factor does not divide the height and the width.
    """
    *batch, height, width, channels = images.shape
    if factor < 1 or height % factor or width % factor:
        raise UserError(f"downscale: {factor} does not divide images of {height}x{width}. Use a divisor of both.")
    blocks = images.reshape(*batch, height // factor, factor, width // factor, factor, channels).astype(jnp.int32)
    total = blocks.sum(axis=(-4, -2))
    return ((2 * total + factor**2) // (2 * factor**2)).astype(jnp.uint8)

"""Which pixels of an image are seen: random masks for imputation, and images whose other pixels are filled.

A mask is True where a pixel is observed, `[..., height, width, 1]`, one for all colours. Masks are drawn independently
for every image, as pure functions of a key.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from exflow.typing import Images, Params, PRNGKey

PixelMask = Bool[Array, "*lead height width 1"]


class Imputation(NamedTuple):
    """What a model can do that infers the hidden pixels of an image from the observed ones.

    `sample` takes images [num, ...] and masks, draws so many of each, and gives images [num_samples, num, ...] whose
    observed pixels are those it was given; hidden ones it never sees. The noise of an image is a function of the key
    and of what is observed of it.
    """

    description: str  # what is hidden in training and evaluation, such as "a random quadrant hidden"
    observed: Callable[[PRNGKey, int], PixelMask]  # masks as in training, of so many images
    sample: Callable[[Params, PRNGKey, Images, PixelMask, int], Images]


def quadrant_mask(key: PRNGKey, shape: tuple[int, ...]) -> PixelMask:
    """Hide one of the four quadrants, drawn anew for every image.

    Args:
      key: Of the draw.
      shape: Of the images, `(..., height, width, channels)`; height and width are even.

    Raises:
      ValueError: They are not.
    """
    *lead, height, width, _ = shape
    if height % 2 or width % 2:
        raise ValueError(f"shape: expected an even height and width, got {height}x{width}. Resize the images.")
    hidden = jax.random.randint(key, tuple(lead), 0, 4)
    return ~_rectangles(hidden // 2 * (height // 2), hidden % 2 * (width // 2), (height // 2, width // 2), shape)


def patch_mask(key: PRNGKey, shape: tuple[int, ...], num_patches: int, patch_size: int) -> PixelMask:
    """Hide square patches at random places, which may overlap; all places inside the image are equally likely.

    Args:
      key: Of the draw.
      shape: Of the images, `(..., height, width, channels)`.
      num_patches: In every image, at least 1.
      patch_size: Height and width of a patch, at most that of the images.

    Raises:
      ValueError: Such patches do not exist.
    """
    *lead, height, width, _ = shape
    if num_patches < 1 or not 1 <= patch_size <= min(height, width):
        raise ValueError(
            f"patches: expected at least one of size 1 to {min(height, width)}, got {num_patches} of {patch_size}. "
            "Correct num_patches or patch_size."
        )
    top_key, left_key = jax.random.split(key)
    top = jax.random.randint(top_key, (num_patches, *lead), 0, height - patch_size + 1)
    left = jax.random.randint(left_key, (num_patches, *lead), 0, width - patch_size + 1)
    return ~_rectangles(top, left, (patch_size, patch_size), shape).any(axis=0)


def fill(
    x: Float[Array, "*lead height width channels"],
    observed: PixelMask,
    mean: Float[Array, "height width channels"] | Float[Array, " channels"],
) -> Float[Array, "*lead height width channels"]:
    """The image where it is observed, and elsewhere the mean (of the training images; of a pixel or of all)."""
    return jnp.where(observed, x, mean.reshape((1,) * (x.ndim - mean.ndim) + mean.shape))


def beside(
    filled: Float[Array, "*lead height width channels"], observed: PixelMask
) -> Float[Array, "*lead height width more"]:
    """What an encoder of partly seen images takes: the filled image and, as one channel more, the mask as 0 and 1."""
    return jnp.concatenate([filled, observed.astype(filled.dtype)], axis=-1)


def _rectangles(
    top: Int[Array, "*lead"], left: Int[Array, "*lead"], size: tuple[int, int], shape: tuple[int, ...]
) -> Bool[Array, "*lead height width 1"]:
    """True inside rectangles of one size."""

    def inside(start: Array, length: int, total: int) -> Array:
        offset = jnp.arange(total).reshape((1,) * start.ndim + (total,)) - start[..., jnp.newaxis]
        return (offset >= 0) & (offset < length)

    rows, columns = inside(top, size[0], shape[-3]), inside(left, size[1], shape[-2])
    return (rows[..., :, jnp.newaxis] & columns[..., jnp.newaxis, :])[..., jnp.newaxis]

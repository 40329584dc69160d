"""Rotation of images by the angle in their context, exactly invertible and volume preserving."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from exflow.core.bijectors.bijector import Bijector, no_params
from exflow.typing import Params

Image = Float[Array, "batch height width channels"]
PerImage = Float[Array, " batch"]


def turn_back() -> Bijector:
    """Turn square images clockwise by the angle that the context (sin, cos) of each tells.

    Views of a picture that was turned counter-clockwise by that angle thus come back to
    one position, so that an exchangeable process on what follows speaks of the picture and not of its views. The map
    is linear and orthogonal: exact quarter turns, then three shears, each a shift of rows or columns by fractions of a
    pixel in the Fourier basis (Unser, Thevenaz & Yaroslavsky 1995). What is shifted out on one side enters on the
    other. The highest frequency of an even side stays, for a real shift by half a pixel would erase it.

    Returns:
      A bijector without parameters, whose log_det is 0. It refuses images that are not square with a ValueError.
    """

    def forward(params: Params, x: Image, context: Float[Array, "batch 2"]) -> tuple[Image, PerImage]:
        quarters, rest = _split(context)
        return _small_turn(quarter_turns(x, -quarters), -rest), jnp.zeros(x.shape[0], x.dtype)

    def inverse(params: Params, z: Image, context: Float[Array, "batch 2"]) -> tuple[Image, PerImage]:
        quarters, rest = _split(context)
        return quarter_turns(_small_turn(z, rest), quarters), jnp.zeros(z.shape[0], z.dtype)

    return Bijector(no_params, forward, inverse)


def _split(context: Float[Array, "batch 2"]) -> tuple[Int[Array, " batch"], PerImage]:
    """Number of quarter turns in an angle given as (sin, cos), and the rest of at most an eighth turn, radians."""
    angle = jnp.arctan2(context[:, 0], context[:, 1])
    quarters = jnp.round(angle / (jnp.pi / 2))
    return quarters.astype(jnp.int32), angle - quarters * (jnp.pi / 2)


def quarter_turns(
    x: Shaped[Array, "batch *set height width channels"], number: Int[Array, " batch"]
) -> Shaped[Array, "batch *set height width channels"]:
    """Square images, or sets of them, turned counter-clockwise by a number of quarters each, as `numpy.rot90` does.

    Raises:
      ValueError: The images are not square.
    """
    if x.shape[-3] != x.shape[-2]:
        raise ValueError(f"x: expected square images, got {x.shape[-3]}x{x.shape[-2]}. Turn only square ones.")
    turns = number.reshape(-1, *(1,) * (x.ndim - 1)) % 4
    x = jnp.where(turns >= 2, x[..., ::-1, ::-1, :], x)
    return jnp.where(turns % 2 == 1, jnp.swapaxes(x, -3, -2)[..., ::-1, :, :], x)


def _small_turn(x: Image, angle: PerImage) -> Image:
    """Images turned counter-clockwise by small angles, undone by the negative angle.

    With y down, the point (x, y) goes to (x cos + y sin, y cos - x sin), which is a product of three shears.
    """
    across, down = jnp.tan(angle / 2), -jnp.sin(angle)
    return _shear_rows(_shear_columns(_shear_rows(x, across), down), across)


def _shear_rows(x: Image, slope: PerImage) -> Image:
    """Shift every row to the right by slope times its distance below the centre, around the edge."""
    side = x.shape[1]
    shift = jnp.outer(slope, jnp.arange(side) - (side - 1) / 2)  # [batch, row], pixels
    frequency = jnp.fft.rfftfreq(side) * (jnp.arange(side // 2 + 1) * 2 != side)  # cycles per pixel
    phase = -2 * jnp.pi * shift[..., None] * frequency[None, None, :]
    return jnp.fft.irfft(jnp.fft.rfft(x, axis=2) * jnp.exp(1j * phase)[..., None], side, axis=2)


def _shear_columns(x: Image, slope: PerImage) -> Image:
    """Shift every column down by slope times its distance to the right of the centre, around the edge."""
    return _shear_rows(x.swapaxes(1, 2), slope).swapaxes(1, 2)

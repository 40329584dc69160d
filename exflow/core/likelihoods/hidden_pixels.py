"""The law of an image's hidden pixels: what models of partly seen images learn and are scored by.

Values carry the mask as their last channel, `exflow.core.observed.beside(image, observed)`, so that whatever hands
values on hands on the mask with them, and one image under two masks is two values.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from exflow.core.latents.seeds import content_seeds
from exflow.core.likelihoods.likelihood import Likelihood
from exflow.core.observed import beside
from exflow.typing import PRNGKey

DrawMask = Callable[[PRNGKey, tuple[int, ...]], Bool[Array, "*lead height width 1"]]  # (key, shape of the images)


def of_hidden_pixels(law: Likelihood, draw_mask: DrawMask) -> Likelihood:
    """The same law of the pixels that a drawn mask hides, given nothing but the outputs.

    Args:
      law: Of images, whose pixels are independent given the outputs (colours of a pixel need not be).
      draw_mask: Draws the masks, True where a pixel is observed.

    Returns:
      Law whose values are images with their mask as one channel more: `to_values` draws it from the key, or without
      one as a function of the image; `log_prob` sums over hidden pixels. Means and samples are whole images without
      the mask.
    """

    def to_values(key: PRNGKey | None, x: Array) -> Array:
        if key is None:
            values = law.to_values(None, x)
            return beside(values, content_mask(draw_mask, values))
        value_key, mask_key = jax.random.split(key)
        values = law.to_values(value_key, x)
        return beside(values, draw_mask(mask_key, values.shape))

    def log_prob(outputs: Array, values: Array) -> Array:
        image, observed = split_mask(values)
        return jnp.where(observed[..., 0], 0.0, pixel_log_probs(law, outputs, image)).sum(axis=(-2, -1))

    return law._replace(name=f"{law.name} of hidden pixels", to_values=to_values, log_prob=log_prob)


def split_mask(
    values: Float[Array, "*lead height width more"],
) -> tuple[Float[Array, "*lead height width channels"], Bool[Array, "*lead height width 1"]]:
    """The image and the mask of which values consist."""
    return values[..., :-1], values[..., -1:] > 0.5


def pixel_log_probs(
    law: Likelihood,
    outputs: Float[Array, "*lead height width outputs"],
    image: Float[Array, "*lead height width channels"],
) -> Float[Array, "*lead height width"]:
    """Log probability of every pixel, of a law whose pixels are independent given the outputs: each is an image."""
    return law.log_prob(outputs[..., jnp.newaxis, jnp.newaxis, :], image[..., jnp.newaxis, jnp.newaxis, :])


def content_mask(
    draw_mask: DrawMask, image: Float[Array, "*lead height width channels"]
) -> Bool[Array, "*lead height width 1"]:
    """A mask per image that is a function of its pixels alone."""
    flat = image.reshape(-1, *image.shape[-3:])

    def one(seed: Array) -> Array:
        return draw_mask(jax.random.fold_in(jax.random.key(0), seed), flat.shape[1:])

    masks = jax.vmap(one)(content_seeds(flat))
    return masks.reshape(*image.shape[:-1], 1)

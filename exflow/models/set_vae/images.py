"""Images that a set VAE draws given a set."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from exflow.core.latents.elements import SeenElements, merge_sets
from exflow.core.latents.trace import Noise
from exflow.model import LatentFunctions, SampleImages
from exflow.models.set_vae.latents import top_down
from exflow.models.set_vae.networks.autoencoder import SetAutoencoder
from exflow.typing import Images, Params, PRNGKey

SAMPLE = 1  # separates the draw of images from that of bounds


def image_sampler(
    networks: SetAutoencoder, latents: LatentFunctions, image_shape: tuple[int, int, int], means: bool
) -> SampleImages:
    """Build `SetFunctions.sample`.

    Args:
      networks: Of the model.
      latents: Of the model.
      image_shape: Of its images.
      means: Images are the means of the likelihood and not draws from it.
    """

    def sample(
        params: Params,
        state: SeenElements,
        key: PRNGKey,
        num_samples: int,
        coherent: bool = False,
        context: Array | None = None,
    ) -> Images:
        del context
        element_set, mask, leading = merge_sets(*state)
        set_key, example_key, pixel_key = jax.random.split(jax.random.fold_in(key, SAMPLE), 3)

        def set_latents(key: PRNGKey) -> tuple[Array, ...]:
            return top_down(networks, params, Noise(key), mask, element_set.features).set_latents

        if coherent:
            _, outputs = latents.generate(params, example_key, (len(mask), num_samples), set_latents(set_key))
            outputs = jnp.moveaxis(outputs, 1, 0)
        else:
            keys = (jax.random.split(k, num_samples) for k in (set_key, example_key))
            outputs = jax.vmap(
                lambda c, e: latents.generate(params, e, (len(mask), 1), set_latents(c))[1][:, 0],
            )(*keys)
        law = latents.likelihood
        values = law.mean(outputs) if means else law.sample(pixel_key, outputs)
        return law.to_pixels(values).reshape(num_samples, *leading, *image_shape)

    return sample

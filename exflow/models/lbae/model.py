"""Coded Bernoulli autoencoders as a `Model`: images to bits and back, and bits drawn from what is fitted to them.

A convolutional autoencoder whose latents are signs learns with a straight-through gradient and without any prior. The
bits of the training images are then given a distribution by their moments. On the same networks: a variational
autoencoder, a regularised autoencoder, latents rounded to decimals. None of them has a density of images.
Source: Fajtl, Argyriou, Monekosso & Remagnino 2020, "Coded Bernoulli Autoencoder", PMLR 119:2964-2974.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from exflow.model import CodeFunctions, Model
from exflow.models.lbae.networks.autoencoder import Autoencoder
from exflow.models.lbae.networks.plan import plan
from exflow.models.lbae.objective import UNITS, distortion, pixels, training_loss, variables
from exflow.models.lbae.sampler import sampler
from exflow.typing import Batch, Context, Element, Images, Params, PRNGKey


def lbae(config: ConfigDict, image_shape: tuple[int, int, int]) -> Model:
    """Build an autoencoder from sections `model.lbae` and `objective` of the configuration.

    Args:
      config: Complete configuration.
      image_shape: Height, width and channels of the images; the first two are divisible by 2^(number of halvings).

    Returns:
      Model with parameters `{"encoder": ..., "decoder": ..., "statistics": ...}`, the latter the running averages of
      batch normalisation; an element is the code of an image, [latent_dim]: bool of bits, else float32.

    Raises:
      UserError: Options that no network has, or images that cannot be halved so often.
    """
    made = plan(config.model.lbae, image_shape, config.model.compute_dtype)
    network, binary, kind = Autoencoder(made), made.latent == "bits", config.objective.distortion

    def init(key: PRNGKey, batch: Batch) -> Params:
        x = pixels(batch.x_set.reshape(-1, *image_shape)[:1])  # shapes are all that counts
        found: Any = network.init(key, x, None, None, True)
        return {**found["params"], "statistics": found["batch_stats"]}

    def encode(params: Params, key: PRNGKey | None, x: Images, context: Context | None = None) -> Element:
        del key, context
        return to_code(params, x)

    def to_code(params: Params, x: Images) -> Array:
        values = pixels(x.reshape(-1, *image_shape))
        latent: Any = network.apply(variables(params), values, method=Autoencoder.encode)
        code = latent.code > 0 if binary else latent.code
        return code.reshape(*x.shape[:-3], made.latent_dim)

    def outputs_of(params: Params, code: Array) -> Array:
        flat = code.reshape(-1, made.latent_dim)
        flat = jnp.where(flat, 1.0, -1.0) if binary else flat
        outputs: Any = network.apply(variables(params), flat, method=Autoencoder.decode)
        return outputs

    def from_code(params: Params, code: Array) -> Images:
        x = jnp.round(255.0 * jax.nn.sigmoid(outputs_of(params, code))).astype(jnp.uint8)
        return x.reshape(*code.shape[:-1], *image_shape)

    def error(params: Params, x: Images) -> Float[Array, "*lead"]:
        outputs = outputs_of(params, to_code(params, x))
        return distortion(kind, outputs, pixels(x.reshape(-1, *image_shape))).reshape(x.shape[:-3])

    return Model(
        name=f"lbae ({made.latent_dim} {made.latent if binary else f'{made.latent} latents'})",
        image_shape=image_shape,
        init=init,
        loss=training_loss(network, config.objective),
        encode=encode,
        group_of=lambda name: name,  # encoder | decoder | statistics
        codes=CodeFunctions(made.latent_dim, to_code, from_code, binary, error, UNITS[kind]),
        sampler=sampler(made),
    )

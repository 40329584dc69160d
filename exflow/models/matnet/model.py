"""Matryoshka networks as a `Model`: deep hierarchies of Gaussian latents of single images.

Images have nothing to do with each other: a set is scored as independent images, and its state is a count. Densities
are the evidence lower bound, or with `draws` = K > 1 the importance-weighted bound of K draws. The noise of an image is
a function of its pixels. Source: Bachman 2016, "An Architecture for Deep, Hierarchical Generative Models",
arXiv:1612.04739.
"""

import jax
from jaxtyping import Array
from ml_collections import ConfigDict

from exflow.core.latents.elements import EncodedElement
from exflow.core.latents.trace import Noise
from exflow.core.likelihoods.likelihood import likelihood as find_likelihood
from exflow.model import Model
from exflow.models.independent_sets import sets_from_latents
from exflow.models.matnet.latents import draw_flat, latent_functions
from exflow.models.matnet.networks.layers import Mode
from exflow.models.matnet.networks.matnet import MatNet
from exflow.models.matnet.networks.plan import plan
from exflow.models.matnet.objective import Objective, phases
from exflow.typing import Batch, Context, Images, Params, PRNGKey


def matnet(config: ConfigDict, image_shape: tuple[int, int, int]) -> Model:
    """Build a Matryoshka network from sections `model.matnet` and `objective` of the configuration.

    Args:
      config: Complete configuration.
      image_shape: Height, width and channels of the images.

    Returns:
      Model with parameters `{"generator": ..., "inference": ...}`, and "statistics", the running averages of batch
      normalisation.

    Raises:
      UserError: Options that no network has.
    """
    options = config.model.matnet
    likelihood = find_likelihood(options.likelihood)
    made = plan(options, likelihood.num_outputs(image_shape[-1]), image_shape, config.model.compute_dtype)
    network = MatNet(made)
    latents = latent_functions(network, likelihood, image_shape)
    objective = Objective(network, likelihood, config.objective, image_shape)

    def encode(params: Params, key: PRNGKey | None, x: Images, context: Context | None = None) -> EncodedElement:
        del context
        return latents.encode_values(params, likelihood.to_values(key, x))

    def init(key: PRNGKey, batch: Batch) -> Params:
        init_key, noise_key, value_key, latent_key = jax.random.split(key, 4)
        values: Array = likelihood.to_values(value_key, batch.x_set)
        flat = values.reshape(-1, *image_shape)
        draw = draw_flat(Noise(latent_key), batch.mask.shape)
        found = network.init({"params": init_key, "noise": noise_key}, flat, draw, Mode(True))
        return {**found["params"], "statistics": dict(found).get("batch_stats", {})}

    return Model(
        name=f"matnet ({options.levels}, {made.num_groups} groups, {made.num_latents():,} latents, {likelihood.name})",
        image_shape=image_shape,
        init=init,
        loss=objective.loss,
        encode=encode,
        group_of=lambda name: name,  # generator | inference | statistics
        phases=phases(objective),
        sets=sets_from_latents(latents, options.sample_means, work_bytes=_work_bytes(made.levels)),
        latents=latents,
    )


def _work_bytes(levels: tuple) -> int:
    """Of the largest layers of one image and draw, in float32."""
    return 16 * max(level.width * max(level.size, 1) ** 2 for level in levels)

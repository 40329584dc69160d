"""Matryoshka networks as a `Model`: deep hierarchies of Gaussian latents of single images.

Images have nothing to do with each other: a set is scored as independent images, and its state is a count. Densities
are the evidence lower bound, or with `draws` = K > 1 the importance-weighted bound of K draws. The noise of an image is
a function of its pixels. Source: Bachman 2016, "An Architecture for Deep, Hierarchical Generative Models",
arXiv:1612.04739.
"""

from collections.abc import Iterable

import jax
import numpy as np
from jaxtyping import Array
from ml_collections import ConfigDict

from exflow.core.latents.elements import EncodedElement
from exflow.core.latents.trace import Noise
from exflow.core.likelihoods.learned import learned_likelihood
from exflow.model import Model
from exflow.models.independent_sets import sets_from_latents
from exflow.models.matnet.imputation import fit_fill, imputation
from exflow.models.matnet.latents import draw_flat, latent_functions
from exflow.models.matnet.networks.layers import Mode
from exflow.models.matnet.networks.matnet import MatNet
from exflow.models.matnet.networks.plan import plan
from exflow.models.matnet.objective import GENERATOR, Objective, phases
from exflow.models.matnet.observation import NAME, law_of, observation, with_law
from exflow.typing import Batch, Context, Images, Params, PRNGKey


def matnet(config: ConfigDict, image_shape: tuple[int, int, int]) -> Model:
    """Build a Matryoshka network from sections `model.matnet` and `objective` of the configuration.

    Args:
      config: Complete configuration.
      image_shape: Height, width and channels of the images.

    Returns:
      Model with parameters `{"generator": ..., "inference": ...}`, "likelihood" where that has any, and "statistics",
      the running averages of batch normalisation and the statistics of training images that the likelihood needs. A
      conditional network has "prior" besides, which learns with the generator; it scores and draws hidden pixels only,
      and has no densities of whole images.

    Raises:
      UserError: Options that no network has.
    """
    options = config.model.matnet
    learned, whole = observation(options, image_shape[-1]), learned_likelihood(options.likelihood).bare
    made = plan(options, learned.num_outputs(image_shape[-1]), image_shape, config.model.compute_dtype)
    network = MatNet(made)
    latents = latent_functions(network, learned)
    objective = Objective(network, learned, config.objective, image_shape)

    def encode(params: Params, key: PRNGKey | None, x: Images, context: Context | None = None) -> EncodedElement:
        del context
        return latents.encode_values(params, law_of(learned, params).to_values(key, x))

    def init(key: PRNGKey, batch: Batch) -> Params:
        init_key, noise_key, value_key, latent_key = jax.random.split(key, 4)
        own, statistics = learned.init(jax.random.fold_in(init_key, 1), image_shape)
        values: Array = learned.law(own, statistics).to_values(value_key, batch.x_set)
        flat = values.reshape(-1, *values.shape[2:])
        draw = draw_flat(Noise(latent_key), batch.mask.shape)
        found = network.init({"params": init_key, "noise": noise_key}, flat, draw, Mode(True))
        params = {**found["params"], "statistics": dict(found).get("batch_stats", {})}
        return with_law(params, own, statistics)

    def fit_images(params: Params, images: Iterable[np.ndarray]) -> Params:
        if made.conditional:
            return fit_fill(whole, params, images)
        assert learned.fit is not None
        return with_law(params, params.get(NAME, {}), learned.fit(images))

    return Model(
        name=f"matnet ({options.levels}, {made.num_groups} groups, {made.num_latents():,} latents, {learned.name})",
        image_shape=image_shape,
        init=init,
        loss=objective.loss,
        encode=encode,
        group_of=_group_of,
        phases=phases(objective),
        fit_images=fit_images if learned.fit is not None or made.conditional else None,
        sets=None if made.conditional else sets_from_latents(latents, options.sample_means, latents.work_bytes),
        latents=latents,
        imputation=imputation(network, whole, latents, options, image_shape) if made.conditional else None,
    )


def _group_of(name: str) -> str:
    return GENERATOR if name in (NAME, "prior") else name  # generator | inference | statistics

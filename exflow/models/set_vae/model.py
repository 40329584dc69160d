"""Hierarchical set VAEs as a `Model`: VAE, Neural Statistician, CNS, HFSGM, CHFSGM, SCHA-VAE, all also with LAG.

A set has latents c_l, its elements have latents z_l; `networks.build` lists the models. Densities are
lower bounds: log p(X) is estimated by L(X), the evidence lower bound (or with `draws` = K > 1 the importance-weighted
bound of K draws), and the density of an element given others by the difference
L(X and x) - L(X), so that densities given growing sets add up to L. The noise of an element is a function of its pixels
(and of how many equal elements come before it: equal elements have latents of their own) and that of a set of its
elements, which makes every number independent of order, padding and batch. Sources: Edwards & Storkey 2017,
arXiv:1606.02185; Giannone & Winther 2022, arXiv:2110.12279.
"""

import jax
from jaxtyping import Array
from ml_collections import ConfigDict

from exflow.core.latents.elements import EncodedElement
from exflow.core.latents.trace import Noise
from exflow.core.likelihoods.likelihood import likelihood as find_likelihood
from exflow.model import Model
from exflow.models import latent_bounds
from exflow.models.bound_sets import sets_from_bound
from exflow.models.set_vae.classes import divergence_scores
from exflow.models.set_vae.images import image_sampler
from exflow.models.set_vae.latents import latent_functions
from exflow.models.set_vae.networks.build import num_set_latents, set_autoencoder
from exflow.models.set_vae.objective import training_loss
from exflow.nn.initial_values import init_at_once
from exflow.typing import Batch, Context, Images, Params, PRNGKey


def set_vae(config: ConfigDict, image_shape: tuple[int, int, int]) -> Model:
    """Build a set VAE from sections `model.set_vae` and `objective` of the configuration.

    Args:
      config: Complete configuration.
      image_shape: Height, width and channels of the images; (1, 1, D) for vectors.

    Returns:
      Model with parameters `{"networks": ...}`, and "statistics", the running averages of batch normalisation.

    Raises:
      UserError: Options that no network has.
    """
    options = config.model.set_vae
    likelihood = find_likelihood(options.likelihood)
    networks = set_autoencoder(options, likelihood, image_shape, config.model.compute_dtype, config.model.block_loop)
    vectors, value_dtype = likelihood.name == "gaussian", "float32" if likelihood.name == "gaussian" else "uint8"
    one_level = options.hierarchy != "stream" and options.set_latent_levels == "top"
    latents = latent_functions(
        networks, likelihood, image_shape, num_set_latents(options), one_level and options.aggregation == "mean"
    )
    width = max(options.hidden, options.encoder_filters * image_shape[0] * image_shape[1])

    def encode(params: Params, key: PRNGKey | None, x: Images, context: Context | None = None) -> EncodedElement:
        del context
        return latents.encode_values(params, likelihood.to_values(key, x))

    def init(key: PRNGKey, batch: Batch) -> Params:
        init_key, value_key, noise_key = jax.random.split(key, 3)
        values: Array = likelihood.to_values(value_key, batch.x_set)
        inputs = (values, batch.mask, Noise(noise_key), True)
        in_loops = options.hierarchy == "stream"
        variables = networks.init(init_key, *inputs) if in_loops else init_at_once(init_key, networks, *inputs)
        return {"networks": variables["params"], "statistics": dict(variables).get("batch_stats", {})}

    return Model(
        name=f"set_vae ({options.hierarchy}, {options.aggregation} aggregation, {likelihood.name})",
        image_shape=image_shape,
        init=init,
        loss=training_loss(networks, likelihood, config.objective, image_shape),
        encode=encode,
        value_dtype=value_dtype,
        sets=sets_from_bound(
            latent_bounds.joint(latents),
            encode,
            image_shape,
            value_dtype,
            image_sampler(networks, latents, image_shape, means=options.sample_means and not vectors),
            class_log_probs=None if options.class_rule == "elbo" else divergence_scores(latents),
            work_bytes=16 * width,  # a few layers of float32
        ),
        latents=latents,
    )

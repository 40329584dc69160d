"""A family of single images with one latent vector each: a linear variational autoencoder of binary pixels."""

import jax
import jax.numpy as jnp

from exflow.config.families import Family, register_family
from exflow.core.latents import diagonal_gaussian, trace
from exflow.core.latents.elements import EncodedElement
from exflow.core.latents.seeds import content_seeds
from exflow.core.likelihoods.likelihood import likelihood
from exflow.model import LatentFunctions, Model
from exflow.models import latent_bounds
from exflow.models.independent_sets import sets_from_latents
from exflow.models.registry import FAMILIES
from exflow.typing import Loss


def toy_single(config, image_shape):
    """A linear encoder and decoder of grey images with `config.model.toy_single.latent_dim` latents between them."""
    dim, latent_dim, law = image_shape[0] * image_shape[1], config.model.toy_single.latent_dim, likelihood("bernoulli")

    def init(key, batch):
        weights = 0.05 * jax.random.normal(key, (3 * latent_dim, dim))
        return {"encoder": weights[latent_dim:].T, "decoder": weights[:latent_dim]}

    def encode_values(params, values):
        features = values.reshape(*values.shape[:-3], dim) @ params["encoder"]
        return EncodedElement(features, values, content_seeds(values.reshape(-1, dim)).reshape(values.shape[:-3]))

    def top_down(params, noise, mask, q):
        p = diagonal_gaussian.standard((*mask.shape, latent_dim))
        z = trace.draw(noise, q or p, 0, trace.EXAMPLE)
        drawn = trace.TopDown((trace.Level(None, trace.Latent(z, p, q)),), z, None)
        return drawn, decode(params, drawn, mask)

    def decode(params, drawn, mask):
        return (drawn.example_inputs @ params["decoder"]).reshape(*mask.shape, *image_shape)

    def infer(params, element_set, mask, key, set_latents=None, means=(), num_levels=None):
        noise = trace.Noise(key, element_set.seed, mask, means)
        return top_down(params, noise, mask, diagonal_gaussian.from_moments(element_set.features))

    def generate(params, key, shape, set_latents=None, means=(), num_levels=None):
        return top_down(params, trace.Noise(key, means=means), jnp.ones(shape, bool), None)

    def encode(params, key, x, context=None):
        return encode_values(params, law.to_values(key, x))

    def loss(params, key, batch):
        found = latent_bounds.elbo_terms(latents, params, key, encode(params, key, batch.x_set), batch.mask)
        value = (found.kl_examples.sum(axis=0) - found.log_prob).sum() / batch.mask.sum()
        return Loss(value, {"nelbo": value})

    latents = LatentFunctions(law, encode_values, infer, generate, decode, lambda params, state: [], 0)
    return Model("toy single", image_shape, init, loss, encode, sets=sets_from_latents(latents), latents=latents)


register_family("toy_single", Family(model={"latent_dim": 2}))
FAMILIES["toy_single"] = toy_single

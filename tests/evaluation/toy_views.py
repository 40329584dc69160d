"""A conditional toy model and its data: the view of an object is the object plus a shift known from its context."""

import jax.numpy as jnp
import numpy as np

from exflow.core.gaussian_process import GaussianPredictive
from exflow.data.registry import group_by_class
from tests.evaluation.toy import toy_model, toy_params

SHAPE = (2, 3, 1)
DIM = 6
SHIFT = np.random.default_rng(5).normal(size=(2, DIM)).astype(np.float32) / 2  # latent units per unit of context
VARIANCE, COVARIANCE = 0.5, 0.4
PARAMS = toy_params(DIM, VARIANCE, COVARIANCE)


def conditional_toy():
    """`toy_model` whose latents are those of the image minus the shift of its context."""
    base = toy_model(SHAPE)

    def shift(context):
        return context @ jnp.asarray(SHIFT)

    def encode(params, key, x, context=None):
        element = base.encode(params, key, x)
        return element._replace(z=element.z - shift(context))

    def predictive(params, state):
        weight = COVARIANCE / (VARIANCE - COVARIANCE + state.count[..., None] * COVARIANCE)
        variance = (VARIANCE - COVARIANCE) * (1 + weight) * jnp.ones_like(state.total)
        return GaussianPredictive(weight * state.total, variance)

    def decode(params, z, context=None):
        x = jnp.floor((z + shift(context)) * 64 + 128)
        return jnp.clip(x, 0, 255).astype(jnp.uint8).reshape(*z.shape[:-1], *SHAPE)

    def sample(params, state, key, num_samples, coherent=False, context=None):
        pixels = base.sets.sample(params, state, key, num_samples, coherent)  # of the unshifted view
        z = (pixels.astype(jnp.float32).reshape(*pixels.shape[:-3], DIM) + 0.5 - 128) / 64
        return decode(params, z, context)

    process = base.process._replace(predictive=predictive, decode=decode)
    return base._replace(encode=encode, context_dim=2, sets=base.sets._replace(sample=sample), process=process)


def view_sets(num_objects=6, num_views=12, seed=0, name="toy_views/test"):
    """Objects from the law of the model, seen under evenly spread angles in a random order."""
    rng = np.random.default_rng(seed)
    angle = np.concatenate([rng.permutation(num_views) for _ in range(num_objects)]) * 2 * np.pi / num_views
    context = np.stack([np.sin(angle), np.cos(angle)], axis=-1).astype(np.float32)
    labels = np.repeat(np.arange(num_objects, dtype=np.int32), num_views)
    theta = COVARIANCE**0.5 * rng.normal(size=(num_objects, DIM))
    z = theta[labels] + (VARIANCE - COVARIANCE) ** 0.5 * rng.normal(size=(len(labels), DIM)) + context @ SHIFT
    images = np.clip(np.floor(z * 64 + 128), 0, 255).astype(np.uint8).reshape(-1, *SHAPE)
    return group_by_class(images, labels + 7, name, context)

"""Small Matryoshka networks for tests, and their random parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from exflow.config import base_config
from exflow.core.latents.trace import Noise
from exflow.models.matnet.latents import draw_flat
from exflow.models.matnet.networks.layers import Mode
from exflow.models.matnet.networks.matnet import MatNet
from exflow.models.matnet.networks.plan import plan
from tests.models.parameters import random_like

BARE = {
    "normalization": "none",
    "inference_noise": 0.0,
    "generator_noise": 0.0,
    "shortcut_encoder": (),
    "top_shortcuts": False,
    "entry_layers": 0,
    "exit_layers": 0,
    "top_latent_dim": 3,
    "latent_dim": 2,
    "top_hidden": 5,
}
CONV = BARE | {"levels": "2-3-2,4-4-1"}
DENSE = BARE | {
    "levels": "6-2",
    "entry_layers": 1,
    "exit_layers": 1,
    "shortcut_encoder": (5, 4),
    "top_shortcuts": True,
    "normalization": "batch_statistics",
}
REFINER = BARE | {"levels": "2-3-1,4-4-2-gru", "activation": "tanh", "summed_outputs": True}


def config_of(options):
    """The configuration with options of section `model.matnet`."""
    config = base_config("matnet")
    config.update_from_flattened_dict({f"model.matnet.{key}": value for key, value in options.items()})
    return config


@functools.cache
def _network(items, size, channels):
    return MatNet(plan(config_of(dict(items)).model.matnet, channels, (size, size, channels)))


def network(options, size=4, channels=1):
    """A network of small images, the same for the same options."""
    return _network(tuple(sorted(options.items())), size, channels)


def means(law, number):
    """In place of draws."""
    del number
    return law.mean


def draws(key, batch):
    """Draws for single images."""
    return draw_flat(Noise(key), (batch, 1))


@functools.cache
def shapes_of(module):
    x = jnp.zeros((2, *module.plan.image_shape))
    return jax.eval_shape(lambda: module.init(dict.fromkeys(("params", "noise"), jax.random.key(0)), x, means, Mode()))


def random_variables(module, seed=0):
    """Random parameters, in NumPy, and positive running averages where there are any."""
    found = random_like(shapes_of(module), seed)
    averages = jax.tree.map(lambda leaf: jnp.asarray(np.abs(leaf) + 0.5), found.get("batch_stats", {}))
    return {"params": found["params"], "batch_stats": averages}


def pictures(batch, size=4, channels=1, seed=0):
    """Pixels in [0, 1]."""
    return np.random.default_rng(seed).uniform(size=(batch, size, size, channels))

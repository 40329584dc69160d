"""A family without any density: pixels to bits by signs of a linear map, a linear way back, bits drawn one by one."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from exflow.config.families import Family, register_family
from exflow.model import CodeFunctions, Model, Sampler
from exflow.models.registry import FAMILIES
from exflow.typing import Loss


def toy_codes(config: ConfigDict, image_shape: tuple[int, int, int]) -> Model:
    """A linear autoencoder of `config.model.toy_codes.num_bits` bits."""
    dim, num_bits = math.prod(image_shape), config.model.toy_codes.num_bits

    def init(key, batch):
        encoder_key, decoder_key = jax.random.split(key)
        pixels = batch.x_set.reshape(-1, dim) / 255.0
        return {
            "encoder": {"weight": jax.random.normal(encoder_key, (dim, num_bits)) / dim**0.5},
            "decoder": {"weight": 0.1 * jax.random.normal(decoder_key, (num_bits, dim)), "bias": pixels.mean(axis=0)},
        }

    def logits(params, x):
        return (x.reshape(*x.shape[:-3], dim) / 255.0 - 0.5) @ params["encoder"]["weight"]

    def decoded(params, signs):
        return signs @ params["decoder"]["weight"] + params["decoder"]["bias"].reshape((1,) * (signs.ndim - 1) + (-1,))

    def loss(params, key, batch):
        soft = jnp.tanh(logits(params, batch.x_set))
        signs = soft + jax.lax.stop_gradient(jnp.sign(soft) - soft)  # straight through
        error = ((decoded(params, signs) - batch.x_set.reshape(*signs.shape[:-1], dim) / 255.0) ** 2).mean(axis=-1)
        value = jnp.where(batch.mask, error, 0.0).sum() / batch.mask.sum()
        return Loss(value, {"mse": value})

    def to_bits(params, x):
        return logits(params, x) > 0

    def from_bits(params, bits):
        x = jnp.clip(jnp.round(255.0 * decoded(params, 2.0 * bits - 1.0)), 0, 255)
        return x.astype(jnp.uint8).reshape(*bits.shape[:-1], *image_shape)

    def draw(fitted, key, num, method):
        return np.asarray(jax.random.uniform(key, (num, num_bits))) < fitted["probability"]

    sampler = Sampler(("independent",), lambda codes, method: {"probability": codes.mean(axis=0)}, draw)
    codes = CodeFunctions(num_bits, to_bits, from_bits)
    encode = lambda params, key, x, context=None: to_bits(params, x)  # noqa: E731
    return Model("toy codes", image_shape, init, loss, encode, group_of=lambda name: name, codes=codes, sampler=sampler)


register_family("toy_codes", Family(model={"num_bits": 16}, groups=("encoder", "decoder")))
FAMILIES["toy_codes"] = toy_codes

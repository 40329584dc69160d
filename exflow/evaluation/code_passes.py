"""Many images through the codes of a model, and codes back to images, in chunks over the local devices."""

import functools

import jax
import numpy as np
from jaxtyping import Array, Float

from exflow.evaluation.chunks import in_chunks
from exflow.evaluation.placement import data_parallel
from exflow.evaluation.quick_jit import quick_jit
from exflow.model import Fitted, Model, codes_of, sampler_of
from exflow.typing import Params, PRNGKey

BATCH = 256


@functools.partial(quick_jit, static_argnums=0)
def encode_codes(model: Model, params: Params, x: Array) -> Array:
    """Codes of images [num, ...], whose number the local devices divide."""
    return data_parallel(codes_of(model).encode, 1, 1)(params, x)


@functools.partial(quick_jit, static_argnums=0)
def decode_codes(model: Model, params: Params, codes: Array) -> Array:
    """Images [num, ...] of codes, whose number the local devices divide."""
    return data_parallel(codes_of(model).decode, 1, 1)(params, codes)


@functools.partial(quick_jit, static_argnums=0)
def reconstruct(model: Model, params: Params, x: Array) -> tuple[Array, Array]:
    """Images [num, ...] encoded and decoded again, and what `CodeFunctions.distortion` says (or 0)."""
    codes = codes_of(model)

    def local(params: Params, x: Array) -> tuple[Array, Array]:
        error = jax.numpy.zeros(len(x)) if codes.distortion is None else codes.distortion(params, x)
        return codes.decode(params, codes.encode(params, x)), error

    return data_parallel(local, 1, 1)(params, x)


def codes_of_images(
    model: Model, params: Params, images: np.ndarray, batch_size: int = BATCH, description: str | None = None
) -> np.ndarray:
    """Codes [num, length] of images that fit the model."""
    run = functools.partial(encode_codes, model, params)
    return in_chunks(run, (images,), min(batch_size, len(images)), description)


def images_of_codes(model: Model, params: Params, codes: np.ndarray, batch_size: int = BATCH) -> np.ndarray:
    """Images [num, height, width, channels] of codes [num, length]."""
    return in_chunks(functools.partial(decode_codes, model, params), (codes,), min(batch_size, len(codes)))


def reconstructions(
    model: Model, params: Params, images: np.ndarray, batch_size: int = BATCH
) -> tuple[np.ndarray, Float[np.ndarray, " num"]]:
    """Images encoded and decoded again, and what training makes small of each."""
    return in_chunks(functools.partial(reconstruct, model, params), (images,), min(batch_size, len(images)))


def sample_fitted(
    model: Model, params: Params, fitted: Fitted, key: PRNGKey, num_samples: int, method: str = ""
) -> np.ndarray:
    """Images [num_samples, ...] of the distribution that was fitted to the codes of the training data by a method."""
    sampler = sampler_of(model)
    return images_of_codes(model, params, sampler.draw(fitted, key, num_samples, method or sampler.methods[0]))

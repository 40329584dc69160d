"""Encode every image (and rotation) of a split once; all evaluations then work on the cached elements.

A set model encodes each image on its own, so few-shot episodes, likelihoods and samples need no further pass through
its networks. The original BRUNO scripts push 800 images through the flow for an episode that holds 40 different ones.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8

from exflow.data.contexts import known_context
from exflow.data.resize import resize
from exflow.evaluation.chunks import in_chunks
from exflow.evaluation.placement import data_parallel, replicate
from exflow.evaluation.quick_jit import quick_jit
from exflow.model import Model
from exflow.typing import Element, Params, PRNGKey

Transform = Callable[[np.ndarray], np.ndarray]
KEPT_BYTES = 2**32  # of encodings on the host, besides the newest one
VALUES = {  # what a model takes, by its value_dtype, and how to get there
    "uint8": ("uint8 pixels 0..255", "Round and clip them."),
    "float32": ("float32 vectors", "Convert them with astype(numpy.float32)."),
}


@functools.partial(quick_jit, static_argnums=0)
def encode_batch(
    model: Model, params: Params, key: PRNGKey | None, seeds: Array, x: Array, context: Array | None
) -> Element:
    """Elements of images with a seed each, split over the local devices, whose number divides that of the images."""

    def encode(params: Params, key: PRNGKey | None, seed: Array, x: Array, context: Array | None) -> Element:
        known = () if context is None else (context,)
        return model.encode(params, None if key is None else jax.random.fold_in(key, seed), x, *known)

    # without noise nothing is drawn for each image, and to trace the batch as a whole takes two thirds of the time
    many = encode if key is None else jax.vmap(encode, in_axes=(None, None, 0, 0, 0))
    return data_parallel(many, 2, 3)(params, key, seeds, x, context)


def encode_images(
    model: Model,
    params: Params,
    key: PRNGKey | None,
    x: UInt8[np.ndarray, "images height width channels"] | Float32[np.ndarray, "images 1 1 dim"],
    batch_size: int,
    first_seed: int = 0,
    description: str | None = None,
    context: Float[np.ndarray, "images context"] | None = None,
) -> Element:
    """Encode images in equal batches spread over the local devices; compiled once per batch size.

    Args:
      model: Set model.
      params: Its parameters.
      key: Key of the dequantization noise, or None for no noise (its mean). The noise of an image is a function of the
        key and the image's seed alone, whatever the batch size and the number of devices.
      x: Images, pixels 0..255; or vectors, for a model whose value_dtype is float32.
      batch_size: Images per call; rounded up to a multiple of the number of devices.
      first_seed: Image i has the seed `first_seed + i`.
      description: Title of the progress bar; None shows none.
      context: What is known of each image, for a model that takes it.

    Returns:
      Elements as NumPy arrays with leading axis [images].
    """
    params = replicate(params)
    seeds = np.arange(first_seed, first_seed + len(x)).astype(np.uint32)
    run = functools.partial(encode_batch, model, params, key)
    return in_chunks(run, (seeds, x, context), batch_size, description)


def encode_split(
    model: Model,
    params: Params,
    key: PRNGKey | None,
    image_sets: Any,
    rotations: Sequence[int] = (0, 1, 2, 3),
    batch_size: int = 500,
    transform: Transform | None = None,
    description: str | None = None,
) -> Element:
    """Encode every image of a split under every rotation.

    Args:
      model: Set model.
      params: Its parameters.
      key: Key of the dequantization noise, or None for no noise (its mean).
      image_sets: Split with `images` uint8 [N, H, W, C] or float32 [N, 1, 1, D], `index` [num_classes, max_count],
        `count` [num_classes], and `context` [N, context_dim] for a model that takes it.
      rotations: Quarter turns, counter-clockwise; (0,) leaves the images as they are.
      batch_size: Images per call.
      transform: Applied to uint8 images [n, H, W, C] before they are encoded, for example to reduce their size.
      description: Title of the progress bar; None shows none.

    Returns:
      Elements as NumPy arrays with leading axes [class, rotation, image]; zero at images that do not exist, that is
      `index[c, count[c]:]`.

    Raises:
      ValueError: Rotated images are not square, or the images do not fit the model.
    """
    index, count = np.asarray(image_sets.index), np.asarray(image_sets.count)
    exists = np.arange(index.shape[1])[None, :] < count[:, None]
    images = np.asarray(image_sets.images)[index[exists]]
    if transform is not None:
        images = np.asarray(transform(images))
    check_images(model, images)
    if any(rotation % 2 for rotation in rotations) and images.shape[1] != images.shape[2]:
        raise ValueError(f"rotations: quarter turns need square images, got {images.shape[1:3]}. Use rotations=(0,).")
    context = known_context(image_sets, model.context_dim)
    if context is not None:
        if any(rotations):
            raise ValueError("rotations: quarter turns would contradict the context of the images. Use rotations=(0,).")
        context = context[index[exists]]
    turned = np.stack([np.rot90(images, rotation, axes=(1, 2)) for rotation in rotations], axis=1)
    flat = turned.reshape(-1, *images.shape[1:])
    elements = encode_images(model, params, key, flat, batch_size, description=description, context=context)

    def scatter(leaf: np.ndarray) -> np.ndarray:
        leaf = leaf.reshape(len(images), len(rotations), *leaf.shape[1:])
        out = np.zeros((*index.shape, *leaf.shape[1:]), leaf.dtype)
        out[exists] = leaf
        return np.ascontiguousarray(np.moveaxis(out, 2, 1))

    return jax.tree.map(scatter, elements)


class Encodings:
    """Elements of a split by draw of the noise, encoded when they are asked for first and kept while they fit."""

    def __init__(self, encode: Callable[[int | None], Element], num_draws: int, kept_bytes: int = KEPT_BYTES):
        """Keep what `encode` gives.

        Args:
          encode: Takes the number of a noise draw, or None for noise at its mean; gives elements
            [class, rotation, image] as NumPy arrays.
          num_draws: Noise draws that there are.
          kept_bytes: Bound on what is kept besides the newest encoding; the oldest ones go first.
        """
        self.num_draws, self._encode, self._kept_bytes = num_draws, encode, kept_bytes
        self._kept: dict[int | None, Element] = {}

    def __call__(self, draw: int | None) -> Element:
        """Elements of a noise draw, or with the noise at its mean (None)."""
        if draw not in self._kept:
            while sum(map(_num_bytes, self._kept.values())) > self._kept_bytes:
                del self._kept[next(iter(self._kept))]
            self._kept[draw] = self._encode(draw)
        return self._kept[draw]


def _num_bytes(tree: Element) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


@functools.cache
def values_only(model: Model) -> Model:
    """A model whose elements are nothing but what the likelihood scores; the encoder is then not computed."""

    def encode(params: Params, key: PRNGKey | None, x: Array, context: Array | None = None) -> Array:
        known = () if context is None else (context,)
        return model.encode(params, key, x, *known).values

    return model._replace(encode=encode)


def downscaling(factor: int) -> Transform | None:
    """Transform of square images to the rounded means of factor x factor pixels; None for factor 1."""
    if factor == 1:
        return None
    return lambda images: resize(images, images.shape[1] // factor, "area")


def check_images(model: Model, x: Any) -> None:
    """Raise `TypeError` or `ValueError` unless x has the type and, as its last axes, the image shape of the model."""
    if x.dtype != model.value_dtype:
        expected, fix = VALUES[model.value_dtype]
        raise TypeError(f"x: expected {expected}, got {x.dtype}. {fix}")
    if x.shape[-3:] != model.image_shape:
        shape = ", ".join(map(str, model.image_shape))
        raise ValueError(f"x: expected [..., {shape}], got {x.shape}. Bring raw pictures into shape with preprocess.")

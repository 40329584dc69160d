"""Batches inside the compiled step: indices are drawn, and images gathered and turned, from data in device memory."""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32

from exflow.core.bijectors.rotation import quarter_turns
from exflow.data.pipelines.episodes import STREAM, draw_episodes
from exflow.data.pipelines.images import Place, images_at, order_of, place_of
from exflow.data.pipelines.spec import NUM_ROTATIONS, EpisodeSpec, ImageSpec, Pipeline
from exflow.data.registry import ImageSets
from exflow.typing import Batch


def device_pipeline(image_sets: ImageSets, spec: EpisodeSpec | ImageSpec, seed: int) -> Pipeline:
    """Pipeline whose host input is only the step or its place in the epochs; see `build.make_pipeline`."""
    if isinstance(spec, ImageSpec):
        return _images(image_sets, spec, seed)
    return _episodes(image_sets, spec, seed)


def _images(image_sets: ImageSets, spec: ImageSpec, seed: int) -> Pipeline:
    order = order_of(image_sets)
    num_images = len(order.row)

    def batches(start_step: int) -> Iterator[Place]:
        return map(partial(place_of, batch_size=spec.num_sets, num_images=num_images), itertools.count(start_step))

    def materialize(resident: Any, place: Place) -> Batch:
        images, row, label, contexts = resident
        offset = np.arange(spec.num_sets, dtype=np.uint32)
        number = images_at(seed, place, offset, num_images, jax.lax.while_loop)
        rows = row[number]
        context = None if contexts is None else contexts[rows][:, None]
        return Batch(images[rows][:, None], jnp.ones((spec.num_sets, 1), bool), label[number], context)

    return Pipeline("device", (image_sets.images, *order, image_sets.context), batches, materialize)


def _episodes(image_sets: ImageSets, spec: EpisodeSpec, seed: int) -> Pipeline:
    def batches(start_step: int) -> Iterator[np.int32]:
        return map(np.int32, itertools.count(start_step))

    def materialize(resident: Any, step: Int32[Array, ""] | np.int32) -> Batch:
        images, index, count, contexts = resident
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), STREAM), step)
        episodes = draw_episodes(key, index, count, spec)
        x_set = images[episodes.image]
        label = episodes.class_index
        if spec.rotate:
            x_set = quarter_turns(x_set, episodes.rotation)
            label = label * NUM_ROTATIONS + episodes.rotation
        if spec.min_set_size is not None:
            x_set = jnp.where(episodes.mask[:, :, None, None, None], x_set, jnp.zeros((), x_set.dtype))
        context = None if contexts is None else jnp.where(episodes.mask[:, :, None], contexts[episodes.image], 0.0)
        return Batch(x_set, episodes.mask, label, context)

    resident = (image_sets.images, image_sets.index, image_sets.count, image_sets.context)
    return Pipeline("device", resident, batches, materialize)

"""Episodes drawn, gathered and rotated inside the compiled step; the images live in device memory."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from exflow.core.bijectors.rotation import quarter_turns
from exflow.data.pipelines.episodes import NUM_ROTATIONS, EpisodeSpec, Pipeline
from exflow.data.registry import ImageSets
from exflow.typing import Batch, PRNGKey

STREAM = 0x45706973  # separates the draws of episodes from all others made with the same seed


class EpisodeIndex(NamedTuple):
    """Which images make up a batch."""

    image: Int[Array, "batch set"]  # rows of ImageSets.images
    mask: Bool[Array, "batch set"]
    class_index: Int[Array, " batch"]  # rows of ImageSets.index
    rotation: Int[Array, " batch"]  # multiples of 90 degrees, counterclockwise


def random_order(
    key: PRNGKey, shape: tuple[int, ...], num: int, valid: Bool[Array, "..."] | bool = True
) -> Int[Array, "... num"]:
    """Positions of `num` different valid entries along the last axis, in random order, all orders equally likely.

    The `num` largest of random scores: positive normal floats of 30 random bits each, because XLA's top_k is a partial
    selection for floats and, on CPU, a full sort (30 times slower at 6,000 entries) for integers.
    """
    bits = (jax.random.bits(key, shape, jnp.uint32) >> 2) + jnp.uint32(1 << 23)
    scores = jax.lax.bitcast_convert_type(bits, jnp.float32)
    return jax.lax.top_k(jnp.where(valid, scores, -1.0), num)[1]


def draw_episodes(
    key: PRNGKey,
    index: Int[Array, "num_classes max_count"],
    count: Int[Array, " num_classes"],
    spec: EpisodeSpec,
) -> EpisodeIndex:
    """Draw the images of one batch.

    Classes (with their rotations) are drawn uniformly, without replacement if `spec.distinct`; images of a class
    uniformly without replacement. The class needs at least `spec.set_size` images.
    """
    group_key, image_key, size_key = jax.random.split(key, 3)
    num_groups = index.shape[0] * spec.groups_per_class
    if spec.distinct:
        group = random_order(group_key, (num_groups,), spec.num_sets)
    else:
        group = jax.random.randint(group_key, (spec.num_sets,), 0, num_groups)
    class_index, rotation = group // spec.groups_per_class, group % spec.groups_per_class
    if spec.rotate and not spec.distinct_rotations:
        rotation = jax.random.randint(jax.random.fold_in(group_key, 1), (spec.num_sets,), 0, NUM_ROTATIONS)
    rows = index[class_index]
    valid = jnp.arange(rows.shape[1])[None, :] < count[class_index][:, None]
    position = random_order(image_key, rows.shape, spec.set_size, valid)
    smallest = spec.set_size if spec.min_set_size is None else spec.min_set_size
    size = jax.random.randint(size_key, (spec.num_sets, 1), smallest, spec.set_size + 1)
    mask = jnp.arange(spec.set_size)[None, :] < size
    return EpisodeIndex(jnp.take_along_axis(rows, position, axis=1), mask, class_index, rotation)


def device_pipeline(image_sets: ImageSets, spec: EpisodeSpec, seed: int) -> Pipeline:
    """Pipeline whose host input is only the number of the step; see `episodes.make_pipeline`."""

    def batches(start_step: int) -> Iterator[np.int32]:
        return map(np.int32, itertools.count(start_step))

    def materialize(resident: Any, step: Any) -> Batch:
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

"""Episodes: batches of sets of distinct images (or vectors) of one class each, and how `device` draws them.

`tfdata` draws from the same distribution, but not the same episodes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from exflow.data.pipelines.spec import NUM_ROTATIONS, EpisodeSpec
from exflow.data.registry import ImageSets
from exflow.errors import UserError
from exflow.typing import PRNGKey

STREAM = 0x45706973  # separates the draws of episodes from all others made with the same seed


def check_episodes(image_sets: ImageSets, spec: EpisodeSpec) -> None:
    """Refuse what cannot be drawn.

    Raises:
      UserError: One line that names the data set, the class where one is at fault, and the fix.
    """
    name, smallest = image_sets.name, spec.set_size if spec.min_set_size is None else spec.min_set_size
    if spec.num_sets < 1 or not 1 <= smallest <= spec.set_size:
        raise UserError(
            f"episodes of {name}: expected num_sets >= 1 and 1 <= min_set_size <= set_size, "
            f"got {spec.num_sets}, {spec.min_set_size} and {spec.set_size}. Correct the data section of the config."
        )
    if not image_sets.labelled and spec.set_size > 1:
        raise UserError(
            f"{name}: its images have no labels, so there are no sets of one class. Set --config.data.batches=images "
            "with a model of single images, or choose another data set."
        )
    too_few = np.flatnonzero(image_sets.count < spec.set_size)
    if len(too_few):
        first, count = too_few[0], image_sets.count
        raise UserError(
            f"{name}: class {image_sets.class_ids[first]} has {count[first]} images, sets need {spec.set_size} "
            f"({len(too_few)} of {len(count)} classes have too few). Use set_size <= {count.min()}."
        )
    num_groups = len(image_sets.count) * spec.groups_per_class
    if spec.distinct and spec.num_sets > num_groups:
        raise UserError(
            f"{name}: {spec.num_sets} distinct sets need as many classes, there are {num_groups}. "
            f"Use num_sets <= {num_groups} or distinct=False."
        )
    height, width = image_sets.images.shape[1:3]
    if spec.rotate and image_sets.images.dtype != np.uint8:
        raise UserError(f"{name}: its elements are vectors, which cannot be turned. Set --config.data.rotate=False.")
    if spec.rotate and height != width:
        raise UserError(f"{name}: rotation needs square images, got {height}x{width}. Use rotate=False.")
    if spec.rotate and image_sets.context is not None:
        raise UserError(
            f"{name}: its context tells how each image is turned, which rotated sets would contradict. "
            "Set --config.data.rotate=False."
        )


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

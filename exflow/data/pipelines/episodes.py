"""What an episode batch is, and the two pipelines that deliver it.

A batch holds `num_sets` sets of `set_size` distinct images (or vectors) of one class each. It is a pure function of
`(seed, step)`: resuming means starting at a later step, and every host takes its rows of the same global batch. The
pipelines draw from the same distribution but not the same episodes:

- `device`: everything happens inside the compiled step; the images live in device memory.
- `tfdata`: `tf.data` on the host, in parallel with the step, for data larger than device memory.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from exflow.data.registry import ImageSets
from exflow.errors import UserError
from exflow.typing import Batch

NUM_ROTATIONS = 4  # by multiples of 90 degrees
PIPELINES = ("device", "tfdata")


class EpisodeSpec(NamedTuple):
    """What is drawn at every step."""

    num_sets: int  # sets of a batch, over all hosts
    set_size: int  # images of a set, all different
    rotate: bool = False  # turn every set by a random multiple of 90 degrees, the same for all its images
    distinct: bool = True  # sets of a batch are of different classes ...
    min_set_size: int | None = None  # if given, the number of images of a set is uniform in min_set_size..set_size
    distinct_rotations: bool = True  # ... where two rotations of one class count as different; False: as the same

    @property
    def groups_per_class(self) -> int:
        """Sets of one class that a batch of distinct sets may hold."""
        return NUM_ROTATIONS if self.rotate and self.distinct_rotations else 1


class Pipeline(NamedTuple):
    """A source of episode batches; a batch is a pure function of the seed and the step.

    `resident` are numpy arrays: put them on the devices once (replicated) and pass them to every compiled step.
    """

    name: str
    resident: Any  # pytree of arrays; () if the batches come from the host
    batches: Callable[[int], Iterator[Any]]  # start_step -> inputs of this host for start_step, start_step + 1, ...
    materialize: Callable[[Any, Any], Batch]  # (resident, inputs) -> Batch, traced inside the compiled step


def check_spec(image_sets: ImageSets, spec: EpisodeSpec) -> None:
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


def make_pipeline(
    name: str,
    image_sets: ImageSets,
    spec: EpisodeSpec,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
) -> Pipeline:
    """Build a pipeline.

    Args:
      name: "device" or "tfdata".
      image_sets: One split of a data set.
      spec: What is drawn at every step.
      seed: Of all draws; any integer of 32 bits.
      process_index: This host. `tfdata` delivers its rows of the global batch; `device` always computes the global
        batch, of which the compiler places this host's rows here.
      process_count: Number of hosts; must divide num_sets.

    Raises:
      UserError: If the name is not known or the data cannot serve the episodes.
    """
    check_spec(image_sets, spec)
    if spec.num_sets % process_count:
        raise UserError(f"num_sets: {spec.num_sets} sets cannot be divided over {process_count} hosts. Use a multiple.")
    if name == "device":
        from exflow.data.pipelines.device import device_pipeline

        return device_pipeline(image_sets, spec, seed)
    if name == "tfdata":
        from exflow.data.pipelines.tfdata import tfdata_pipeline

        return tfdata_pipeline(image_sets, spec, seed, process_index, process_count)
    raise UserError(f"pipeline: expected one of {', '.join(PIPELINES)}, got {name!r}.")

"""What a batch holds, and what delivers it.

A batch is a pure function of `(seed, step)`: resuming means starting at a later step, and every host takes its rows of
the same global batch.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from exflow.typing import Batch

NUM_ROTATIONS = 4  # by multiples of 90 degrees
PIPELINES = ("device", "tfdata")


class EpisodeSpec(NamedTuple):
    """Episodes: sets of different images of one class each, drawn anew at every step."""

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


class ImageSpec(NamedTuple):
    """Single images, as sets of one: every image once in each epoch, in an order that is new in every epoch."""

    num_sets: int  # images of a batch, over all hosts; an epoch need not be a multiple


class Pipeline(NamedTuple):
    """A source of batches; a batch is a pure function of the seed and the step.

    `resident` are numpy arrays: put them on the devices once (replicated) and pass them to every compiled step.
    """

    name: str
    resident: Any  # pytree of arrays; () if the batches come from the host
    batches: Callable[[int], Iterator[Any]]  # start_step -> inputs of this host for start_step, start_step + 1, ...
    materialize: Callable[[Any, Any], Batch]  # (resident, inputs) -> Batch, traced inside the compiled step

"""`make_pipeline`: the two interchangeable pipelines.

- `device`: everything happens inside the compiled step; the images live in device memory.
- `tfdata`: `tf.data` on the host, in parallel with the step, for data larger than device memory, or than memory
  where the images are a memory-mapped file (see `registry.py`).
"""

from exflow.data.pipelines.device import device_pipeline
from exflow.data.pipelines.episodes import check_episodes
from exflow.data.pipelines.images import check_images
from exflow.data.pipelines.spec import PIPELINES, EpisodeSpec, ImageSpec, Pipeline
from exflow.data.pipelines.tfdata import tfdata_pipeline
from exflow.data.registry import ImageSets
from exflow.errors import UserError


def make_pipeline(
    name: str,
    image_sets: ImageSets,
    spec: EpisodeSpec | ImageSpec,
    seed: int,
    host_index: int = 0,
    num_hosts: int = 1,
) -> Pipeline:
    """Build a pipeline.

    Args:
      name: "device" or "tfdata".
      image_sets: One split of a data set.
      spec: What a batch holds.
      seed: Of all draws; any integer of 32 bits.
      host_index: This host. `tfdata` delivers its rows of the global batch; `device` always computes the global batch,
        of which the compiler places this host's rows here.
      num_hosts: Must divide num_sets.

    Raises:
      UserError: If the name is not known or the data cannot serve the batches.
    """
    if isinstance(spec, ImageSpec):
        check_images(image_sets, spec)
    else:
        check_episodes(image_sets, spec)
    if spec.num_sets % num_hosts:
        raise UserError(f"num_sets: {spec.num_sets} sets cannot be divided over {num_hosts} hosts. Use a multiple.")
    if name == "device":
        return device_pipeline(image_sets, spec, seed)
    if name == "tfdata":
        return tfdata_pipeline(image_sets, spec, seed, host_index, num_hosts)
    raise UserError(f"pipeline: expected one of {', '.join(PIPELINES)}, got {name!r}.")

"""Both input pipelines on data of the size of Omniglot's training split."""

import jax

from benchmarks.cases import random_image_sets
from benchmarks.report import Result, main
from benchmarks.timing import interleaved, ratio
from exflow.data.pipelines.build import make_pipeline
from exflow.data.pipelines.spec import PIPELINES, EpisodeSpec
from exflow.data.registry import ImageSets
from exflow.training.sharding import make_mesh, place_inputs, replicate

NUM_CLASSES, IMAGE_SIZE = 1_028, 28
SPECS = {"20 sets of 8, distinct": EpisodeSpec(20, 8, True, True), "32 sets of 20": EpisodeSpec(32, 20, True, False)}


class Source:
    """Batches of one pipeline on the device, many per call, as a training loop gets them."""

    def __init__(self, name: str, image_sets: ImageSets, spec: EpisodeSpec, batches_per_call: int):
        self.pipeline = make_pipeline(name, image_sets, spec, seed=0)
        self.mesh = make_mesh(jax.devices()[:1])
        self.resident = replicate(self.mesh, self.pipeline.resident)
        self.materialize = jax.jit(self.pipeline.materialize)
        self.inputs = self.pipeline.batches(0)
        self.batches_per_call = batches_per_call

    def __call__(self) -> jax.Array:
        """Read the batches and wait for each."""
        for _ in range(self.batches_per_call):
            batch = self.materialize(self.resident, place_inputs(self.mesh, next(self.inputs)))
            batch.x_set.block_until_ready()
        return batch.x_set


def run(quick: bool) -> Result:
    """Images per second of the pipelines alone, rotated by random quarter turns."""
    num_classes, batches = (40, 2) if quick else (NUM_CLASSES, 100)
    image_sets = random_image_sets(num_classes, size=IMAGE_SIZE)
    medians, ratios = {}, {}
    for row, spec in SPECS.items():
        sources = {name: Source(name, image_sets, spec, batches) for name in PIPELINES}
        timings = interleaved(sources, quick)
        images = batches * spec.num_sets * spec.set_size
        medians[row] = {f"{name} images/s": images / timing.median for name, timing in timings.items()}
        ratios[row] = {"device / tfdata": ratio(timings["tfdata"], timings["device"])}
    settings = {"num_classes": num_classes, "image_size": IMAGE_SIZE, "batches_per_call": batches}
    return Result(settings, medians, ratios)


if __name__ == "__main__":
    main(run)

"""The smallest thing that trains: a linear encoder with one exchangeable Gaussian per dimension, and two pipelines.

Run as a program it trains in a working directory, so that tests can kill it:

    python toy.py WORKDIR [section.key=value ...] [pipeline=device|tfdata] [pause=SECONDS]
"""

import itertools
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from exflow.config import base_config
from exflow.config.flat import put
from exflow.config.overrides import set_from_text
from exflow.data.pipelines.spec import Pipeline
from exflow.model import Model
from exflow.typing import Batch, Loss

NUM_SETS, SET_SIZE, IMAGE_SHAPE = 8, 5, (4, 4, 1)
DIM = 16


def toy_config(**overrides):
    """Complete configuration of a short run; overrides are written section__key=value."""
    config = base_config("bruno")
    config.data.sets_per_batch, config.data.set_size = NUM_SETS, SET_SIZE
    config.optimizer.learning_rate = 1e-2
    config.training.update(
        num_steps=20, log_every=5, evaluate_every=0, checkpoint_every=5, compilation_cache=False, num_devices=1
    )
    for name, value in overrides.items():
        put(config, name.replace("__", "."), value)
    return config


def toy_model(scale: float = 1.0, units: int = DIM) -> Model:
    """Gaussian set model: z = (x / 256 - 1/2) W + b; every z of a set shares a mean that is integrated out roughly.

    The loss is a plain Gaussian with a set mean as location, regularised: enough to have gradients everywhere, noise
    from a key, and parameters in both groups.
    """

    def init(key, batch):
        x = batch.x_set.astype(jnp.float32).reshape(-1, DIM) / 256
        weight = jnp.eye(DIM, units) + 0.1 * jax.random.normal(key, (DIM, units))
        return {
            "flow": {"weight": weight, "bias": -(x @ weight).mean(0)},
            "process": {"mean": jnp.zeros(units), "raw_variance": jnp.zeros(units)},
        }

    def loss(params, key, batch):
        x = batch.x_set.astype(jnp.float32).reshape(-1)
        x = x + jax.random.uniform(key, x.shape)  # drawn flat: compiles five times faster than with five axes
        z = x.reshape(-1, DIM) / 256 @ params["flow"]["weight"] + params["flow"]["bias"][None]
        z = z.reshape(*batch.mask.shape, units)
        mask = batch.mask[..., None]
        set_mean = jnp.where(mask, z, 0.0).sum(1, keepdims=True) / mask.sum(1, keepdims=True)
        variance = jnp.exp(params["process"]["raw_variance"])[None, None]
        centred = z - 0.5 * set_mean - params["process"]["mean"][None, None]
        log_prob = (-0.5 * (jnp.log(2 * jnp.pi * variance) + centred**2 / variance)).sum(-1)
        nll = -jnp.where(batch.mask, log_prob, 0.0).sum() / batch.mask.sum()
        penalty = ((params["flow"]["weight"] - jnp.eye(DIM, units)) ** 2).sum()
        return Loss(scale * (nll + penalty), {"nll": nll})

    def encode(params, key, x, context=None):
        return x

    def group_of(name):
        return "process" if name == "process" else "main"

    return Model("toy", IMAGE_SHAPE, init, loss, encode, group_of=group_of)


def device_pipeline(poison: tuple[int, ...] = ()) -> Pipeline:
    """Images gathered inside the step by its number; steps in `poison` have no image, so that the loss is 0 / 0."""
    images = np.random.default_rng(7).integers(0, 256, (1000, *IMAGE_SHAPE)).astype(np.uint8)

    def materialize(resident, step):
        position = jnp.arange(NUM_SETS * SET_SIZE, dtype=jnp.int32).reshape(NUM_SETS, SET_SIZE)
        x_set = resident[(17 * step + 31 * position) % len(images)]
        bad = jnp.isin(step, jnp.array(poison, jnp.int32)) if poison else jnp.zeros((), bool)
        mask = jnp.ones((NUM_SETS, SET_SIZE), bool) & ~bad
        return Batch(x_set, mask, jnp.arange(NUM_SETS, dtype=jnp.int32))

    return Pipeline("device", images, lambda start: map(np.int32, itertools.count(start)), materialize)


def host_pipeline(process_index: int = 0, process_count: int = 1) -> Pipeline:
    """Images drawn on the host; each process delivers its rows."""
    per_process = NUM_SETS // process_count
    rows = slice(process_index * per_process, (process_index + 1) * per_process)

    def batch(step):
        generator = np.random.default_rng([11, step])
        x_set = generator.integers(0, 256, (NUM_SETS, SET_SIZE, *IMAGE_SHAPE)).astype(np.uint8)
        mask = generator.random((NUM_SETS, SET_SIZE)) < 0.8
        mask[:, 0] = True
        return Batch(x_set[rows], mask[rows], np.arange(NUM_SETS, dtype=np.int32)[rows])

    return Pipeline("tfdata", (), lambda start: map(batch, itertools.count(start)), lambda resident, inputs: inputs)


def arrays_by_name(tree) -> dict[str, np.ndarray]:
    """Leaves as numpy arrays, by path."""
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(tree)}


def slowed(pipeline: Pipeline, seconds: float) -> Pipeline:
    """The same batches, each after a pause."""

    def batches(start):
        for inputs in pipeline.batches(start):
            time.sleep(seconds)
            yield inputs

    return pipeline._replace(batches=batches)


def fit(
    config, workdir, model, pipeline, *, evaluate=None, transform=None, mesh=None, warm_start=None, image_sets=None
):
    """Train a model on a pipeline, as the modes do with what the configuration says."""
    from exflow.training import configure_devices, loop
    from exflow.training.inputs import Inputs
    from exflow.training.setup import set_up

    inputs = Inputs(mesh or configure_devices(config), model, pipeline, transform, image_sets or {})
    with set_up(config, workdir, warm_start, inputs) as run:
        return loop.fit(run, evaluate)


def main(arguments: list[str]) -> None:
    """Train in a working directory; see the module's description."""
    workdir, *options = arguments
    config = toy_config()
    pipeline_name, pause = "device", 0.0
    for option in options:
        key, value = option.split("=")
        if key == "pipeline":
            pipeline_name = value
        elif key == "pause":
            pause = float(value)
        else:
            set_from_text(config, key, value)
    from exflow.training import configure_devices

    mesh = configure_devices(config)
    pipeline = (
        device_pipeline() if pipeline_name == "device" else host_pipeline(jax.process_index(), jax.process_count())
    )
    result = fit(config, Path(workdir), toy_model(), slowed(pipeline, pause), mesh=mesh)
    if result.finished and jax.process_index() == 0:
        np.savez(Path(workdir) / "final.npz", **arrays_by_name(result.state))


if __name__ == "__main__":
    main(sys.argv[1:])

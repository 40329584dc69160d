"""Trains small models on some numbers of devices, and counts what these exchange.

    python many_devices.py FILE.npz MODEL NUM_DEVICES [NUM_DEVICES ...]

Started twice with `EXFLOW_COORDINATOR` and its companions, one number stands for the devices in each of two processes.
"""

import sys

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from benchmarks.cases import given, random_batch, random_params
from benchmarks.collectives import Volume, volume
from exflow.model import Model
from exflow.models import registry
from exflow.training import configure_devices
from exflow.training.groups import STATISTICS
from exflow.training.optimizer import make_optimizer
from exflow.training.sharding import make_mesh, replicate
from exflow.training.step import init_train_state, make_train_step
from exflow.typing import Batch
from tests.models.registry import IMAGE_SHAPE, MODELS, image_shape, small_config
from tests.training.toy import arrays_by_name

NUM_SETS, SET_SIZE, NUM_STEPS, EMA_DECAY = 8, 5, 3, 0.9
CASES = {
    "bruno": (small_config(objective__discriminative_weight=1.0), IMAGE_SHAPE),  # compares all sets of a batch
    "ns": (MODELS["ns_images"], image_shape("ns_images")),  # with batch normalisation
    "scha": (MODELS["scha_vae"], image_shape("scha_vae")),
}


def train(model: Model, config: ConfigDict, mesh: Mesh) -> tuple[dict[str, np.ndarray], Volume]:
    """Losses of some steps and the state after them, by path, in float64; and what a device exchanges in a step."""
    batch = random_batch(NUM_SETS, SET_SIZE, model.image_shape)
    batch = batch._replace(mask=np.arange(SET_SIZE)[None] < 1 + np.arange(NUM_SETS)[:, None])  # devices have unequally
    optimizer, schedule = make_optimizer(config.optimizer, NUM_STEPS, model.group_of)
    params = jax.tree.map(np.float64, random_params(model, batch))
    state = init_train_state(optimizer, replicate(mesh, params), EMA_DECAY, mesh)
    step = make_train_step(model, optimizer, schedule, given, jax.random.key(0), mesh, EMA_DECAY, scan=False)
    rows = NUM_SETS // jax.process_count()
    own = Batch(*(part[jax.process_index() * rows :][:rows] for part in batch[:3]))
    (inputs,) = step.place([own])
    compiled = step.step.lower(state, (), inputs).compile()
    losses = []
    for _ in range(NUM_STEPS):
        state, metrics = compiled(state, (), inputs)
        losses.append(float(metrics["loss"]))
    return {"losses": np.array(losses)} | arrays_by_name(state), volume(compiled.as_text())


def sizes(model: Model) -> tuple[int, int, int]:
    """Numbers that are learned, running averages, and layers that have these."""
    batch = random_batch(NUM_SETS, SET_SIZE, model.image_shape)
    params = jax.eval_shape(model.init, jax.random.key(0), batch)
    averages = jax.tree.leaves(params.get(STATISTICS, {}))
    learned = jax.tree.leaves({name: part for name, part in params.items() if model.group_of(name) != STATISTICS})
    return sum(leaf.size for leaf in learned), sum(leaf.size for leaf in averages), len(averages) // 2


def main(path: str, name: str, *numbers: str) -> None:
    """Train on the first 1, 2, ... devices, or on all those of several processes."""
    config, shape = CASES[name]
    with config.unlocked():
        config.data.sets_per_batch, config.training.compilation_cache = NUM_SETS, False
        config.training.num_devices = max(map(int, numbers))
    mesh, model = configure_devices(config), registry.build(config, shape)
    meshes = (
        {"processes": mesh} if jax.process_count() > 1 else {n: make_mesh(jax.devices()[: int(n)]) for n in numbers}
    )
    found = {"sizes": np.array(sizes(model))}
    for number, some in meshes.items():
        arrays, exchanged = train(model, config, some)
        counted = exchanged.bytes.get("all-reduce", 0), exchanged.bytes.get("all-gather", 0), exchanged.chain
        found |= {f"{number}/{field}": value for field, value in arrays.items()}
        found[f"{number}/exchanged"] = np.array(counted)
    if jax.process_index() == 0:
        np.savez(path, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Trains a small BRUNO, and a small Neural Statistician with batch normalisation, on some numbers of devices.

    python spread.py FILE.npz NUM_DEVICES [NUM_DEVICES ...]

Started twice with `EXFLOW_COORDINATOR` and its companions, there are as many devices in each of the two processes.
"""

import sys

import jax
import numpy as np

from benchmarks.cases import TINY, build_model, configuration, given, random_batch, random_params
from benchmarks.reference.cases import TINY_SET_VAE
from exflow.training import configure_devices
from exflow.training.optimizer import make_optimizer
from exflow.training.sharding import make_mesh, replicate
from exflow.training.step import init_train_state, make_train_step
from exflow.typing import Batch
from tests.training.toy import arrays_by_name

NUM_SETS, NUM_STEPS = 8, 3
COMMON = {"data.sets_per_batch": NUM_SETS, "optimizer.warmup_steps": 0, "optimizer.ema_decay": 0.9}
CASES = {
    "bruno": ("bruno_omniglot:cpu", TINY | {"objective.discriminative_weight": 1.0}),  # compares the sets of a batch
    "ns": ("set_vae_omniglot:ns", TINY_SET_VAE),
}


def train(name: str, mesh) -> dict[str, np.ndarray]:
    """Losses of some steps and the state after them, by path."""
    spec, overrides = CASES[name]
    config = configuration(spec, overrides | COMMON)
    model = build_model(config)
    batch = random_batch(NUM_SETS, config.data.set_size, model.image_shape)
    batch = batch._replace(mask=np.arange(config.data.set_size)[None] < 1 + np.arange(NUM_SETS)[:, None])  # ragged
    optimizer, schedule = make_optimizer(config.optimizer, 10, model.group_of)
    key, ema_decay = jax.random.key(0), config.optimizer.ema_decay
    state = init_train_state(optimizer, replicate(mesh, random_params(model, batch)), ema_decay, mesh)
    step = make_train_step(model, optimizer, schedule, given, key, mesh, ema_decay)
    rows = NUM_SETS // jax.process_count()
    own = Batch(*(part[jax.process_index() * rows :][:rows] for part in batch[:3]))
    losses = []
    for inputs in step.place([own] * NUM_STEPS):
        state, metrics = step.step(state, (), inputs)
        losses.append(float(metrics["loss"]))
    return {"losses": np.array(losses)} | arrays_by_name(state)


def main(path: str, *numbers: str) -> None:
    """Train on the first 1, 2, ... devices, or on all those of several processes."""
    config = configuration("bruno_omniglot:cpu", COMMON | {"training.num_devices": max(map(int, numbers))})
    mesh = configure_devices(config)
    meshes = {"all": mesh} if jax.process_count() > 1 else {n: make_mesh(jax.devices()[: int(n)]) for n in numbers}
    found = {
        f"{name}/{number}/{field}": value
        for name in CASES
        for number, mesh in meshes.items()
        for field, value in train(name, mesh).items()
    }
    if jax.process_index() == 0:
        np.savez(path, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The training step as exflow runs it against the same model written plainly."""

from collections.abc import Callable

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from benchmarks.cases import TINY, build_model, configuration, given, random_batch, random_params
from benchmarks.report import Result, main
from benchmarks.timing import interleaved, ratio
from exflow.training.devices import configure_devices
from exflow.training.optimizer import make_optimizer
from exflow.training.sharding import make_mesh
from exflow.training.step import init_train_state, make_train_step, named_keys
from exflow.typing import Batch, Params

PLAIN = {"model.bruno.conv_gradient": "plain", "model.block_loop": "unroll"}
SMALL = {"data.sets_per_batch": 20, "data.set_size": 8}
FULL = {"data.sets_per_batch": 20, "data.set_size": 4}  # 80 of 640 images: a step takes seconds on two CPU cores
CASES = {"small": ("bruno_omniglot:cpu", SMALL), "full": ("bruno_omniglot", FULL)}
SEED = 1


class ExflowStep:
    """The step of `exflow.training` on a mesh, with donation; a call advances the state."""

    def __init__(self, config: ConfigDict, params: Params, batch: Batch, mesh: Mesh):
        model = build_model(config)
        optimizer, schedule = make_optimizer(config.optimizer, config.training.num_steps, model.group_of)
        ema_decay, key = config.optimizer.ema_decay, jax.random.key(SEED)
        self.state = init_train_state(optimizer, params, ema_decay, mesh)
        self.step = make_train_step(model, optimizer, schedule, given, key, mesh, ema_decay)
        self.batch = batch

    def __call__(self) -> jax.Array:
        """Take a step and return its loss."""
        (inputs,) = self.step.place([self.batch])
        self.state, metrics = self.step.step(self.state, (), inputs)
        return metrics["loss"]


class PlainStep:
    """Gradient, optimizer and update in one `jax.jit` on one device, and nothing else."""

    def __init__(self, config: ConfigDict, params: Params, batch: Batch):
        model = build_model(config)
        optimizer, _ = make_optimizer(config.optimizer, config.training.num_steps, model.group_of)

        @jax.jit
        def step(params, opt_state, number, batch):
            key = named_keys(jax.random.key(SEED), number).loss
            loss, grads = jax.value_and_grad(lambda params: model.loss(params, key, batch).value)(params)
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return optax.apply_updates(params, updates), opt_state, number + 1, loss

        self.step, self.batch = step, batch
        self.state = (params, optimizer.init(params), np.int32(0))

    def __call__(self) -> jax.Array:
        """Take a step and return its loss."""
        *self.state, loss = self.step(*self.state, self.batch)
        return loss


def steps(spec: str, overrides: dict, mesh: Mesh) -> tuple[dict[str, Callable], Batch]:
    """The variants of one case, from equal parameters, and their batch."""
    config = configuration(spec, overrides)
    model = build_model(config)
    batch = random_batch(config.data.sets_per_batch, config.data.set_size, model.image_shape)
    params = random_params(model, batch)
    variants: dict[str, Callable] = {"plain": PlainStep(configuration(spec, overrides | PLAIN), params, batch)}
    if mesh.size > 1:
        variants["exflow on 1 device"] = ExflowStep(config, params, batch, make_mesh(jax.devices()[:1]))
    return variants | {"exflow": ExflowStep(config, params, batch, mesh)}, batch


def run(quick: bool) -> Result:
    """Images per second in training, batches given; plain: one device, no donation, XLA's own convolution gradients."""
    cases = {"small": (CASES["small"][0], TINY)} if quick else CASES
    medians, ratios, num_devices = {}, {}, {}
    for name, (spec, overrides) in cases.items():
        mesh = configure_devices(configuration(spec, overrides))
        num_devices[name] = mesh.size
        variants, batch = steps(spec, overrides, mesh)
        timings = interleaved(variants, quick)
        num_sets, set_size, height, width, _ = batch.x_set.shape
        row = f"{name}: {num_sets} x {set_size} of {height}x{width}"
        medians[row] = {f"{key} images/s": num_sets * set_size / timing.median for key, timing in timings.items()}
        ratios[row] = {"exflow / plain": ratio(timings["plain"], timings["exflow"])}
    settings = {name: {"config": spec, "overrides": overrides} for name, (spec, overrides) in cases.items()}
    return Result({"num_devices": num_devices, "cases": settings}, medians, ratios)


if __name__ == "__main__":
    main(run)

"""What the training step of the published models computes, moves and exchanges on 1 to 8 virtual devices.

    python -m benchmarks.bench_scale --out=experiments/results/scale_counts.jsonl

`--models` counts some of them, a line each time. The step is compiled and not run, and its program read. `python -m
experiments.scaling` predicts step times from it.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import jax

from benchmarks.cases import build_model, configuration, given, random_batch
from benchmarks.collectives import volume
from benchmarks.reference.cases import CASES
from benchmarks.report import Result, Table, main
from exflow.core import process
from exflow.training.groups import STATISTICS
from exflow.training.optimizer import make_optimizer
from exflow.training.sharding import make_mesh, replicated, sharded_sets
from exflow.training.step import init_train_state, make_train_step

MODELS = ("bruno", "bruno_dense", "ns", "scha")
DEVICES = (1, 2, 4, 8)
NUM_SETS = 8  # over all devices: small, because counts of a device are linear in its sets
UNROLLED = {"model.block_loop": "unroll"}  # XLA counts the operations of a loop once, not once per pass
COMPILER = {"xla_backend_optimization_level": 0}  # of machine code, which is not run; the program is the same


def counts(spec: str, overrides: dict[str, Any], num_devices: int) -> dict[str, float]:
    """What one device does in one step of training."""
    config = configuration(spec, overrides | UNROLLED)
    model, mesh = build_model(config), make_mesh(jax.devices()[:num_devices])
    shape = config.data.sets_per_batch, config.data.set_size
    batch = random_batch(*shape, model.image_shape)
    optimizer, schedule = make_optimizer(config.optimizer, config.training.num_steps, model.group_of)
    ema_decay, key = config.optimizer.ema_decay, jax.random.key(0)
    step = make_train_step(model, optimizer, schedule, given, key, mesh, ema_decay, scan=False)
    params = jax.eval_shape(model.init, key, batch)
    state = jax.eval_shape(lambda params: init_train_state(optimizer, params, ema_decay, mesh), params)

    def placed(tree: Any, sharding: Any) -> Any:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)

    lowered = step.step.lower(placed(state, replicated(mesh)), (), placed(batch, sharded_sets(mesh)))  # pyright: ignore
    compiled = lowered.compile(COMPILER)
    analysis, exchanged = compiled.cost_analysis(), volume(compiled.as_text())
    reduced = exchanged.bytes.get("all-reduce", 0)
    planned = compiled.memory_analysis()
    gradient = jax.tree.leaves({name: part for name, part in params.items() if model.group_of(name) != STATISTICS})
    return {
        "sets": shape[0] // num_devices,
        "GFLOP": analysis["flops"] / 1e9,
        "accessed MB": analysis["bytes accessed"] / 1e6,
        "all-reduce MB": reduced / 1e6,
        "other collectives MB": (exchanged.total - reduced) / 1e6,
        "collectives": sum(exchanged.number.values()),
        "synchronizations": max(0, exchanged.chain - 1),
        "temporary MB": planned.temp_size_in_bytes / 1e6,
        "gradient MB": sum(4 * leaf.size for leaf in gradient) / 1e6,
    }


def add_own_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --models."""
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, metavar="MODEL", help=", ".join(MODELS))


def run(quick: bool, models: Sequence[str]) -> Result:
    """Counts of one device: floating-point operations, bytes that XLA:CPU's fusions access, bytes exchanged."""
    jax.config.update("jax_num_cpu_devices", max(DEVICES))
    process.prefers_scan = lambda set_size, backend=None: False  # densities of sets in the form that accelerators take
    medians: Table = {}
    ratios: Table = {}
    cases = {}
    for name in models:
        case = CASES[name]
        own = configuration(case.spec, {}).data
        cases[name] = {"config": case.spec, "sets_per_batch": own.sets_per_batch, "set_size": own.set_size}
        overrides = (case.quick if quick else {}) | {"data.sets_per_batch": NUM_SETS}
        for num_devices in (1, 8) if quick else DEVICES:
            row = f"{name}, {num_devices} devices"
            found = counts(case.spec, overrides, num_devices)
            gradient = found.pop("gradient MB")
            medians[row], ratios[row] = found, {"all-reduce / gradient": found["all-reduce MB"] / gradient}
            cases[name]["gradient_bytes"] = round(gradient * 1e6)
    return Result({"num_sets": NUM_SETS, "cases": cases}, medians, ratios)


if __name__ == "__main__":
    main(run, add_own_arguments)

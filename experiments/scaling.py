"""Write the tables of docs/scaling.md from `experiments/results/scale_counts.jsonl`: `python -m experiments.scaling`.

With figures of another machine, such as `--tflops=989 --network_gb=50`, the tables are printed instead. `--check`
changes nothing and fails if the page does not hold what the file says.
"""

import argparse
import json
import sys
from pathlib import Path

from experiments.collect import RESULTS
from experiments.scaling_model import Accelerator, Counts, load, predict
from experiments.table_parts import markdown

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"
DEVICES = (1, 8, 16, 32, 64, 128, 256, 512, 1024)
DEFAULT = Accelerator()
SLOW_NETWORK_GB = 12.5  # one port of 100 Gb/s per node
MEASURED = {  # runs on one H200, with everything that a run does besides: file, model
    "bruno_omniglot_finetune_fast_seed0": "bruno",
    "bruno_mnist_dense_fast_seed0": "bruno_dense",
    "set_vae_omniglot_fast_ns_seed0": "ns",
}


def number(value: float) -> str:
    """Three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def counts_table(models: dict[str, Counts]) -> str:
    """What was counted, per set and per step."""
    lines = [
        [
            "model",
            "config",
            "images a set",
            "GFLOP a set",
            "MB accessed a set",
            "the same, a step",
            "gradient MB",
            "all-reduced MB",
            "waiting all-reduces",
        ]
    ]
    for model in models.values():
        lines.append(
            [
                model.name,
                f"`{model.config}`",
                str(model.set_size),
                number(model.flop[1] / 1e9),
                number(model.accessed[1] / 1e6),
                number(max(0.0, model.accessed[0]) / 1e6),
                number(model.gradient / 1e6),
                number(model.reduced / 1e6),
                number(model.synchronizations),
            ]
        )
    return markdown(lines)


def weak_table(models: dict[str, Counts], accelerator: Accelerator) -> str:
    """The batch of the configuration on every accelerator."""
    lines = [["model", "sets each", "predicted", *(f"n = {devices:,}" for devices in DEVICES)]]
    for model in models.values():
        steps = [predict(model, accelerator, devices, model.sets_per_batch) for devices in DEVICES]
        efficiency = [
            f"{100 * steps[0].alone / step.alone:.0f} to {100 * steps[0].alone / step.overlapped:.0f}" for step in steps
        ]
        first = [model.name, str(model.sets_per_batch)]
        lines.append([*first, "step, ms", *(number(1e3 * step.alone) for step in steps)])
        lines.append(["", "", "efficiency, %", *efficiency])
    return markdown(lines)


def strong_table(models: dict[str, Counts], accelerator: Accelerator) -> str:
    """The batch of the configuration divided among all; at most as many accelerators as sets."""
    lines = [["model", "sets together", "predicted", *(f"n = {devices:,}" for devices in DEVICES)]]
    for model in models.values():
        total = model.sets_per_batch
        steps = {n: predict(model, accelerator, n, total / n) for n in DEVICES if n <= total}
        times = [number(1e3 * steps[n].alone) if n in steps else "" for n in DEVICES]
        faster = [f"{steps[1].alone / steps[n].alone:.1f}" if n in steps else "" for n in DEVICES]
        lines.append([model.name, str(total), "step, ms", *times])
        lines.append(["", "", "times faster", *faster])
    return markdown(lines)


def enough_sets(model: Counts, accelerator: Accelerator, devices: int, share: float = 1.0) -> str:
    """Least power of two of sets per accelerator at which computing takes 90 % of the step without overlap."""
    for sets in (2**exponent for exponent in range(17)):
        step = predict(model, accelerator, devices, sets, share)
        if step.compute >= 0.9 * step.alone:
            return f"{sets:,}"
    return "never"


def limits_table(models: dict[str, Counts], accelerator: Accelerator) -> str:
    """How many sets an accelerator needs for 90 % efficiency, as it is and with less to exchange."""
    slow = accelerator._replace(network_gb=min(SLOW_NETWORK_GB, accelerator.network_gb))
    lines = [
        [
            "model",
            "n = 8",
            "n = 64",
            "n = 1,024",
            "the same, gradient in bfloat16",
            "the same, no waiting all-reduces",
            f"n = 1,024, network of {SLOW_NETWORK_GB:g} GB/s a node",
            "the same, gradient of 8 batches accumulated",
        ]
    ]
    for model in models.values():
        free = model._replace(synchronizations=0)
        lines.append(
            [
                model.name,
                *(enough_sets(model, accelerator, n) for n in (8, 64, 1024)),
                enough_sets(model, accelerator, 1024, 0.5),
                enough_sets(free, accelerator, 1024),
                enough_sets(model, slow, 1024),
                enough_sets(model, slow, 1024, 1 / 8),
            ]
        )
    return markdown(lines)


def measured_table(models: dict[str, Counts], accelerator: Accelerator) -> str:
    """The formula beside what runs on one H200 took."""
    lines = [
        [
            "run",
            "images a step",
            "precision",
            "predicted, ms",
            "of it, the larger",
            "run, ms a step",
            "predicted / run",
        ]
    ]
    for name, model in ((name, model) for name, model in MEASURED.items() if model in models):
        run, counts = json.loads((RESULTS / f"{name}.json").read_text()), models[model]
        data = run["config"]["data"]
        images, steps = data["sets_per_batch"] * data["set_size"], run["config"]["training"]["num_steps"]
        sets, taken = images / counts.set_size, run["training_seconds"] / steps
        step = predict(counts, accelerator, 1, sets)
        arithmetic = (counts.flop[0] + counts.flop[1] * sets) / (1e12 * accelerator.tflops * accelerator.efficiency)
        lines.append(
            [
                f"`{name}`",
                f"{images:,}",
                run["config"]["model"]["compute_dtype"],
                number(1e3 * step.compute),
                "arithmetic" if arithmetic >= step.compute else "memory",
                number(1e3 * taken),
                f"{100 * step.compute / taken:.0f} %",
            ]
        )
    return markdown(lines)


def tables(accelerator: Accelerator = DEFAULT) -> dict[str, str]:
    """All tables of the page by name."""
    models, lines = load()
    commits = dict.fromkeys(line["environment"]["commit"][:10] for line in lines)
    environment = lines[-1]["environment"]
    where = (
        f"Counted by `python -m benchmarks.bench_scale` at commit {', '.join(commits)}, JAX "
        f"{environment['packages']['jax']}, {environment['device']} backend ({environment['cpu_model']}), "
        f"{lines[-1]['settings']['num_sets']} sets on 1 to 8 virtual devices."
    )
    figures = markdown(
        [["figure", "value"], *([f"`--{key}`", f"{value:g}"] for key, value in accelerator._asdict().items())]
    )
    return {
        "counts": f"{counts_table(models)}\n\n{where}",
        "figures": figures,
        "measured": measured_table(models, accelerator),
        "weak": weak_table(models, accelerator),
        "strong": strong_table(models, accelerator),
        "limits": limits_table(models, accelerator),
    }


def updated(text: str) -> str:
    """The page with its tables made anew."""
    for name, table in tables().items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}{table}\n{end}{rest.split(end, 1)[1]}"
    return text


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    for name, default in Accelerator._field_defaults.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    flags = vars(parser.parse_args())
    check, accelerator = flags.pop("check"), Accelerator(**flags)
    if accelerator != Accelerator():
        print("\n\n".join(f"{name}\n\n{table}" for name, table in tables(accelerator).items()))
        return
    text = PAGE.read_text()
    new = updated(text)
    if check and new != text:
        sys.exit("error: docs/scaling.md differs from experiments/results. Run python -m experiments.scaling")
    if not check:
        PAGE.write_text(new)


if __name__ == "__main__":
    main()

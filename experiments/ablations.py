"""What each step beyond the published model is worth: one switch at a time, several seeds, validation classes only.

    python -m experiments.ablations                               # all switches, 3 seeds, about an hour on two cores
    python -m experiments.ablations --only=spline,mixture --seeds=1 --steps=200
    python -m experiments.ablations --variant=cpu_generative      # the same around training by likelihood alone
    python -m experiments.ablations --table                       # print what is there

The base is `configs/bruno_omniglot.py:cpu` without its convolutions, trained for `--steps` updates (a core-minute per
1,000) on 14x14 pixels. Runs of one seed see the same batches, and are measured on the same episodes and noise, so
differences from the base are paired. Every finished run is kept in `experiments/results/ablations.json` and not
repeated; an interrupted one resumes from its working directory. Test classes are never read.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from exflow import evaluation, modes
from exflow.config import base_config, load_config, validate
from exflow.config.flat import flatten
from exflow.config.overrides import set_value
from exflow.config.renamed import convert
from exflow.errors import UserError
from exflow.evaluation import encoding, placement, results
from exflow.evaluation.run import evaluation_key
from exflow.evaluation.scoring import likelihood
from exflow.models.registry import num_parameters
from exflow.program import as_program, reported
from exflow.training.inputs import build_model, load_data
from exflow.training.state import evaluation_params
from exflow.training.workdir import write_atomically

PATH = Path(__file__).parent / "results" / "ablations.json"
BASE = {
    "model.bruno.scales": 0,
    "objective.supports_per_set": 2,
    "optimizer.ema_decay": 0.99,
    "training.evaluate_every": 0,
    "training.checkpoint_every": 500,
    "training.best_metric": "",
    "evaluation.validation_trials": 5,
}
HEAVY_TAILS = {"model.bruno.degrees_of_freedom": 10.0}

# What each switch changes. Where only `evaluation` changes, the trained base is measured in another way.
SWITCHES: dict[str, dict[str, Any]] = {
    "base": {},
    "process_init_constant": {"model.bruno.process_init": "constant"},
    "process_refresh": {"model.bruno.process_refresh_every": 100},
    "process_mean_zero": {"model.bruno.learn_mean": False},
    "process_learning_rate_1x": {"optimizer.groups.process.learning_rate_multiplier": 1.0},
    "ema_off": {"evaluation.use_ema": False},
    "generative_only": {"objective.discriminative_weight": 0.0, "objective.learn_temperature": False},
    "student_t": {"model.bruno.process": "student_t", **HEAVY_TAILS},
    "mixture": {"model.bruno.process": "mixture", **HEAVY_TAILS},
    "low_rank": {"model.bruno.process": "low_rank"},
    "spline": {"model.bruno.coupling": "spline"},
    "affine_scaled": {"model.bruno.coupling": "affine_scaled"},
    "checkerboard": {"model.bruno.dense_mask": "checkerboard"},
    "low_rank_and_mean_zero": {"model.bruno.process": "low_rank", "model.bruno.learn_mean": False},
    "bound_of_10_draws": {"evaluation.noise_draws": 10},
}
COLUMNS = {
    "nll": ("NLL, nats/image", 1.0, 1),
    "few_shot/5way_1shot": ("5-way 1-shot %", 100.0, 1),
    "few_shot/5way_5shot": ("5-way 5-shot %", 100.0, 1),
    "few_shot/20way_1shot": ("20-way 1-shot %", 100.0, 1),
    "few_shot/20way_5shot": ("20-way 5-shot %", 100.0, 1),
}
PAIRED = ("nll", "few_shot/20way_1shot")  # columns whose difference from the base is shown too


def configuration(variant: str, switch: str, seed: int, steps: int) -> ConfigDict:
    """The complete configuration of one run."""
    config = load_config(f"bruno_omniglot:{variant}")
    run = {"training.num_steps": steps, "training.seed": seed}
    for key, value in (BASE | run | SWITCHES[switch]).items():
        set_value(config, key, value)
    validate(config)
    return config


def changes(config: ConfigDict) -> dict[str, Any]:
    """Keys of a configuration that differ from their defaults, as JSON knows them."""
    defaults = flatten(base_config(config.model.family))
    changed = {key: value for key, value in flatten(config).items() if value != defaults.get(key)}
    return json.loads(json.dumps(changed))


def workdir_of(root: Path, variant: str, switch: str, seed: int, steps: int) -> Path:
    """Where a run is trained: a switch of the evaluation alone shares the directory of the base."""
    trained = any(not key.startswith("evaluation.") for key in SWITCHES[switch])
    return root / f"{variant}-{switch if trained else 'base'}-seed{seed}-steps{steps}"


def run(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Train, or take what was trained, and measure on the validation classes."""
    result = modes.train(config, workdir)
    if not result.finished:
        raise UserError(f"{workdir}: training was stopped. The same command resumes it.")
    validation = load_data(config)["validation"]
    model = build_model(config, load_data(config))
    params = evaluation_params(result.state) if config.evaluation.use_ema else result.state.params
    metrics = evaluation.validate(config, model, params, validation)
    if config.evaluation.noise_draws > 1:
        metrics["nll"] = nll_bound(config, model, params, validation)
        metrics["bits_per_dim"] = likelihood.bits_per_dim(metrics["nll"], model.image_shape)
    return {
        "metrics": metrics,
        "num_parameters": num_parameters(params),
        "training_seconds": round(result.wall_seconds, 1),
        "training_cpu_seconds": round(result.cpu_seconds, 1),
        "hardware": results.hardware(),
        "versions": results.versions(),
        "commit": results.commit(),
    }


def nll_bound(config: ConfigDict, model: Any, params: Any, image_sets: Any) -> float:
    """Importance-weighted bound of `evaluation.noise_draws` draws on the NLL, nats per image."""
    options, count = config.evaluation, np.asarray(image_sets.count)
    key = evaluation_key(config)
    sets = likelihood.draw_sets(count, 1, image_sets.index.shape[1], options.nll_set_size, config.training.seed)
    transform, params, draws = encoding.downscaling(config.data.downscale), placement.replicate(params), []
    for draw in range(options.noise_draws):
        draw_key = jax.random.fold_in(key, draw)
        elements = encoding.encode_split(model, params, draw_key, image_sets, (0,), options.batch_size, transform)
        draws.append(likelihood.set_log_probs(model, params, elements, sets))
    joint, prior = (np.stack(parts) for parts in zip(*draws, strict=True))
    return likelihood.summarize(likelihood.SetLogProbs(joint, prior, sets.mask)).nll_bound.value


def run_all(variant: str, switches: list[str], seeds: range, steps: int, root: Path, out: Path) -> None:
    """Run what is missing, seed by seed, and keep each result in `out`."""
    content = json.loads(out.read_text()) if out.exists() else {"runs": []}
    base = configuration(variant, "base", 0, steps)
    for seed in seeds:
        for switch in switches:
            config = configuration(variant, switch, seed, steps)
            name = {"variant": variant, "switch": switch, "seed": seed, "steps": steps}
            entry = name | {"changes": changes(config)}
            if switch != "base" and changes(configuration(variant, switch, 0, steps)) == changes(base):
                continue  # this variant has it as the switch sets it
            family = config.model.family  # older results have the names that keys had then
            known = (done | {"changes": convert(family, done["changes"])} for done in content["runs"])
            if any(entry.items() <= done.items() for done in known):
                continue
            print(f"{variant}, {switch}, seed {seed}", flush=True)
            entry |= run(config, workdir_of(root, variant, switch, seed, steps))
            others = [done for done in content["runs"] if not name.items() <= done.items()]
            content["runs"] = [*others, entry]
            write_atomically(out, json.dumps(content, indent=1) + "\n")
            jax.clear_caches()  # programs of this configuration are of no further use in this process


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown: mean and standard deviation over seeds, and mean paired differences from the base."""
    header = ["variant", "switch", "seeds", "updates"]
    for key, (title, _, _) in COLUMNS.items():
        header += [title, "minus base"] if key in PAIRED else [title]
    lines = [[*header, "core-seconds"], ["---"] * (len(header) + 1)]
    for variant, steps in sorted({(one["variant"], one["steps"]) for one in runs}):
        group = [one for one in runs if (one["variant"], one["steps"]) == (variant, steps)]
        base = {one["seed"]: one["metrics"] for one in group if one["switch"] == "base"}
        for switch in SWITCHES:
            chosen = [one for one in group if one["switch"] == switch]
            if not chosen:
                continue
            row = [variant, switch, str(len(chosen)), str(steps)]
            for key, (_, factor, digits) in COLUMNS.items():
                row.append(_spread([factor * one["metrics"][key] for one in chosen], digits))
                if key in PAIRED:
                    paired = [one for one in chosen if one["seed"] in base and switch != "base"]
                    gain = [factor * (one["metrics"][key] - base[one["seed"]][key]) for one in paired]
                    row.append(_spread(gain, digits, sign="+"))
            lines.append([*row, f"{statistics.mean(one['training_cpu_seconds'] for one in chosen):.0f}"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _spread(values: list[float], digits: int, sign: str = "") -> str:
    if not values:
        return ""
    mean = f"{statistics.mean(values):{sign}.{digits}f}"
    return mean + (f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else "")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SWITCHES), help="switches, separated by commas")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ...")
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--variant", default="cpu", help="of configs/bruno_omniglot.py: cpu or cpu_generative")
    parser.add_argument("--workdir", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--out", type=Path, default=PATH)
    parser.add_argument("--table", action="store_true", help="only print the table")
    flags = parser.parse_args()
    switches = flags.only.split(",")
    if unknown := [switch for switch in switches if switch not in SWITCHES]:
        sys.exit(f"error: --only: expected some of {', '.join(SWITCHES)}, got {', '.join(unknown)}.")
    with reported():
        if not flags.table:
            run_all(flags.variant, switches, range(flags.seeds), flags.steps, flags.workdir, flags.out)
    print(table(json.loads(flags.out.read_text())["runs"]) if flags.out.exists() else "no results yet")


if __name__ == "__main__":
    as_program(main)

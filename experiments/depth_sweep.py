"""Matryoshka networks of 1 to 6 latent groups on static MNIST: what depth buys, and one switch at a time.

    python -m experiments.depth_sweep                                        # all depths, 3 seeds: a day on two cores
    python -m experiments.depth_sweep --depths 1 3 --seeds 1                 # an hour
    python -m experiments.depth_sweep --recipe cpu_repeated --depths 1 3     # every batch ten times with fresh noise
    python -m experiments.depth_sweep --switch no_norm --depths 3
    python -m experiments.depth_sweep --table                                # print what is there

The recipe is a variant of `configs/matnet_depth.py` without its depth: "cpu", "cpu_repeated", "published" or "" (full
length). Training ends early where validation was best; test images are read once, by the evaluation of the best
checkpoint with `--samples` draws. Every finished run is kept in `experiments/results/depth_sweep.json` and not
repeated; an interrupted one resumes from its working directory.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from exflow import modes
from exflow.config import load_config, validate
from exflow.config.overrides import set_value
from exflow.errors import UserError
from exflow.program import as_program, reported
from exflow.training.workdir import write_atomically

PATH = Path(__file__).parent / "results" / "depth_sweep.json"
NORMS = {"model.matnet.normalization": "none"}
SWITCHES: dict[str, dict[str, Any]] = {
    "base": {},
    "no_norm": NORMS,
    "batch_statistics": {"model.matnet.normalization": "batch_statistics"},
    "noise": {"model.matnet.inference_noise": 0.1, "model.matnet.generator_noise": 0.1},
    "no_top_hidden": {"model.matnet.top_hidden": 0},
    "learned_scale": {"model.matnet.scale_owner": "inference", "model.matnet.initial_scale": 0.2},
    "clipped_logits": {"model.matnet.likelihood": "bernoulli_clipped"},
    "no_annealing": {"objective.annealing_steps": 0},
    "plain_annealing": {"objective.annealing": "plain"},
}
KEPT = ("test_nll", "test_importance_nll", "test_importance_monte_carlo_error", "test_importance_effective_draws")


def configuration(recipe: str, switch: str, depth: int, seed: int, samples: int) -> ConfigDict:
    """The complete configuration of one run."""
    config = load_config("matnet_depth:" + "_".join(filter(None, (recipe, f"j{depth}"))))
    run = {"training.seed": seed, "evaluation.marginal_samples": samples}
    for key, value in (run | SWITCHES[switch]).items():
        set_value(config, key, value)
    validate(config)
    return config


def run(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Train, or take what was trained, and evaluate.

    Raises:
      UserError: Training was stopped.
    """
    if not modes.train(config, workdir).finished:
        raise UserError(f"{workdir}: training was stopped. The same command resumes it.")
    modes.evaluate(config, workdir)
    found = json.loads((workdir / "results.json").read_text())
    results = {name: entry for name, entry in found["results"].items() if name in KEPT or "_kl_" in name}
    return {**{key: value for key, value in found.items() if key not in ("config", "results")}, "results": results}


def run_all(flags: argparse.Namespace) -> None:
    """Run what is missing, seed by seed, and keep each result."""
    content = json.loads(flags.out.read_text()) if flags.out.exists() else {"runs": []}
    for seed in range(flags.seeds):
        for depth in flags.depths:
            name = {"recipe": flags.recipe, "switch": flags.switch, "depth": depth, "seed": seed}
            name |= {"samples": flags.samples}
            if any(name.items() <= done.items() for done in content["runs"]):
                continue
            print(f"{depth} groups, {flags.recipe or 'full'}, {flags.switch}, seed {seed}", flush=True)
            config = configuration(flags.recipe, flags.switch, depth, seed, flags.samples)
            workdir = flags.workdir / f"{flags.recipe or 'full'}-{flags.switch}-j{depth}-seed{seed}"
            content["runs"].append(name | run(config, workdir))
            write_atomically(flags.out, json.dumps(content, indent=1) + "\n")


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown: negative log-likelihood by depth, mean and standard deviation over seeds, nats per test image."""
    header = ["groups", "recipe", "switch", "seeds", "draws", "bound of one draw", "importance-weighted", "of seeds"]
    lines = [header, ["---"] * len(header)]
    keys = ("recipe", "switch", "depth", "samples")
    for recipe, switch, depth, samples in sorted({tuple(one[key] for key in keys) for one in runs}):
        group = [one for one in runs if tuple(one[key] for key in keys) == (recipe, switch, depth, samples)]
        one_draw, many = (
            [one["results"][name]["value"] for one in group] for name in ("test_nll", "test_importance_nll")
        )
        spread = f"± {statistics.stdev(many):.2f}" if len(many) > 1 else ""
        means = (f"{statistics.mean(values):.2f}" for values in (one_draw, many))
        lines.append([str(depth), recipe or "full", switch, str(len(group)), str(samples), *means, spread])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=list(range(1, 7)), choices=range(1, 7))
    parser.add_argument("--recipe", default="cpu", choices=("", "cpu", "cpu_repeated", "published"))
    parser.add_argument("--switch", default="base", choices=tuple(SWITCHES))
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ...")
    parser.add_argument("--samples", type=int, default=2_500, help="draws of the latents of a test image")
    parser.add_argument("--workdir", type=Path, default=Path("runs/depth_sweep"))
    parser.add_argument("--out", type=Path, default=PATH)
    parser.add_argument("--table", action="store_true", help="only print the table")
    flags = parser.parse_args()
    with reported():
        if not flags.table:
            run_all(flags)
    print(table(json.loads(flags.out.read_text())["runs"]) if flags.out.exists() else "no results yet")


if __name__ == "__main__":
    as_program(main)

"""Learning curves of a run from its metrics.jsonl: running mean of the training loss, and validation metrics.

Works while training is going on. Entries: the last running mean, the last and best value of every validation metric.
"""

import argparse
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from exflow import loading
from exflow.errors import UserError
from exflow.evaluation import results
from exflow.evaluation.analysis.learning_curves import Curves, read_metrics, running_mean
from exflow.evaluation.scoring import likelihood
from experiments import plots
from experiments.report import Report
from experiments.subject import positive

HIDDEN = ("step", "examples_per_second", "num_skipped", "num_skipped_in_a_row")
SCHEDULED = ("learning_rate",)  # known exactly: no mean


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--window", type=int, default=10, help="log lines in a running mean; default: 10")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """Values as entries, curves as series and figure."""
    positive(flags, "window")
    if len(flags.model) != 1:
        raise UserError(f"--model: expected one working directory, got {len(flags.model)}.")
    workdir = Path(flags.model[0]).expanduser()
    curves, config = read_metrics(workdir), loading.read_config(workdir / "config.json")
    noun = noun_of(workdir)
    train, validation = curves.get("train", {}), curves.get("validation", {})
    entries = {}
    if "loss" in train:
        smooth = running_mean(train["loss"], flags.window)
        what = f"running mean of {flags.window} log lines at step {train['step'][-1]:.0f}"
        entries["train_loss"] = results.result(float(smooth[-1]), "", what)
    entries |= best_values(validation, noun)
    names = [name for name in validation if name not in HIDDEN]
    shown = [name for name in ("loss", "nll", "grad_norm", "learning_rate") if name in train]
    path, number = out / "learning_curves.png", len(shown) + len(names)
    with plots.figure(path, columns=min(number, 4), rows=-(-number // min(number, 4))) as axes:
        for one, name in zip(axes, shown, strict=False):
            if name in SCHEDULED:
                one.plot(train["step"], train[name], color="black", linewidth=1.2)
            else:
                one.plot(train["step"], train[name], color="0.8", linewidth=0.8, label="log lines")
                mean = running_mean(train[name], flags.window)
                one.plot(train["step"], mean, color="black", linewidth=1.2, label=f"mean of {flags.window}")
            one.set_title(f"train {name}", fontsize=9)
            one.set_ylabel(scale_and_unit(name, noun)[1] or name.replace("_", " "), fontsize=8)
        for one, name in zip(axes[len(shown) :], names, strict=False):
            scale, unit = scale_and_unit(name, noun)
            one.plot(validation["step"], scale * validation[name], ".-", color="firebrick", linewidth=1.2)
            one.set_title(f"validation {name}", fontsize=9)
            one.set_ylabel(unit or name.replace("_", " "), fontsize=8)
        for one in axes[:number]:
            plots.count_axis(one, "step")
    facts = {"source": str(workdir), "step": int(max(part["step"].max() for part in curves.values()))}
    return Report(config, facts, entries, curves, [path])


def noun_of(workdir: Path) -> str:
    """What the model scores, "image" or "element"; "image" as long as there is no checkpoint."""
    with suppress(UserError):
        return likelihood.noun(loading.from_workdir(workdir).model)
    return "image"


def best_values(validation: Curves, noun: str) -> dict[str, Any]:
    """Last and best value of every validation metric; accuracies are better when higher, all else when lower."""
    entries = {}
    for name, values in validation.items():
        known = np.flatnonzero(~np.isnan(values))
        if name in HIDDEN or len(known) == 0:
            continue
        accuracy = name.startswith("few_shot")
        best = known[(np.argmax if accuracy else np.argmin)(values[known])]
        scale, unit = scale_and_unit(name, noun)
        for what, at in (("last", known[-1]), ("best", best)):
            when = f"{what} validation, at step {validation['step'][at]:.0f}"
            entries[f"validation_{name}/{what}"] = results.result(float(scale * values[at]), unit, when)
    return entries


def scale_and_unit(name: str, noun: str) -> tuple[int, str]:
    """Factor and unit of a metric in tables and figures; shares are percentages there."""
    units = {"nll": f"nats/{noun}", "nll_prior": f"nats/{noun}", "bits_per_dim": "bits/dim"}
    return (100, "%") if name.startswith("few_shot") else (1, units.get(name, ""))

"""Few-shot accuracy for every combination of --way and --shot, by three protocols.

One trial queries every test class in every rotation once; its classes are told apart by the predictive density given
their support images. `few_shot`: ties count 1/n and NaN as wrong. `few_shot_original`: both count as correct, as in the
paper's code. `few_shot_midpoint`: no dequantization noise.
"""

import argparse
from itertools import product
from pathlib import Path
from typing import Any

from exflow import evaluation
from exflow.errors import UserError
from experiments import plots
from experiments.report import Report
from experiments.subject import add_splits_argument, add_subject_arguments, open_subject, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    add_subject_arguments(parser, split=None)
    parser.add_argument("--way", type=int, nargs="+", default=[5, 20], metavar="N", help="classes; default: 5 20")
    parser.add_argument("--shot", type=int, nargs="+", default=[1, 5], metavar="N", help="images each; default: 1 5")
    parser.add_argument("--trials", type=int, default=20, help="default: 20, as in the paper")
    add_splits_argument(parser, "test")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """Accuracies as entries, and accuracy against shots as a figure."""
    positive(flags, "shot", "trials")
    if min(flags.way) < 2:
        raise UserError(f"--way: expected at least 2, got {min(flags.way)}.")
    subject = open_subject(flags)
    subject.config.evaluation.settings = tuple(product(sorted(set(flags.way)), sorted(set(flags.shot))))
    subject.config.evaluation.num_trials = flags.trials
    entries = {}
    for split in flags.splits:
        found = evaluation.evaluate_split(
            subject.config,
            subject.model.core,
            subject.model.params,
            subject.image_sets[split],
            split,
            subject.transform,
            print,
        )
        entries |= {name: entry for name, entry in found.items() if "few_shot" in name}
    if not entries:
        raise UserError(f"--way, --shot: none of the settings is possible with {' or '.join(flags.splits)} classes.")
    path = draw(out / "few_shot.png", entries, flags.splits, sorted(set(flags.way)), sorted(set(flags.shot)))
    return Report(subject.config, subject.facts, entries, {}, [path])


def draw(path: Path, entries: dict[str, Any], splits: list[str], ways: list[int], shots: list[int]) -> Path:
    """One panel per split, a curve over shots per way with 95 % intervals, and published values as crosses."""
    with plots.figure(path, columns=len(splits)) as axes:
        for one, split in zip(axes, splits, strict=True):
            prefix = "" if split == "test" else f"{split}_"
            for way in ways:
                names = {shot: f"{prefix}few_shot/{way}way_{shot}shot" for shot in shots}
                known = {shot: entries[name] for shot, name in names.items() if name in entries}
                values = [entry["value"] for entry in known.values()]
                errors = [entry["ci95"] for entry in known.values()]
                curve = one.errorbar(list(known), values, errors, marker=".", capsize=2, label=f"{way}-way")
                reference = {shot: entry["published"]["value"] for shot, entry in known.items() if entry["published"]}
                if reference:
                    color, label = curve.lines[0].get_color(), f"{way}-way, published"
                    one.plot(list(reference), list(reference.values()), "x", color=color, markersize=5, label=label)
            one.set_title(f"{split} classes", fontsize=9)
            plots.count_axis(one, "images per class")
            one.set_ylabel("accuracy, %", fontsize=8)
            low, high = one.get_ylim()
            one.set_ylim(max(low, 0), min(high, 101))
    return path

"""Models of any family with latents under one evaluation: importance-weighted bounds of the same single images.

    python -m experiments single_images --model=runs/vae --model=runs/ns --model=runs/matnet --samples=2500

Every image is a set of one, of which set VAEs infer the latents of the set, too. All models score the same values: of
binarised pixels those of one draw that depends on the image alone. For each model the bound of all draws, that of one
draw on the same images, the standard error of the first over other draws, and how many draws carry the weight.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from exflow.errors import UserError
from exflow.evaluation.metrics import detection
from experiments import plots
from experiments.cardinality import mean_per_image
from experiments.latents import bounds_of, draw_sets, open_set_vae, unit, values_of
from experiments.report import Report, entry
from experiments.several import facts_of, open_subjects, scored
from experiments.subject import Subject, add_subject_arguments, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options; --model is given once per model."""
    add_subject_arguments(parser)
    parser.add_argument("--samples", type=int, default=100, help="draws of the latents; default: 100, in papers 2500")
    parser.add_argument("--images", type=int, default=0, help="how many of the split, 0: all; default: 0")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """Entries of every model, and a figure."""
    positive(flags, "samples")
    subjects = open_subjects(flags, open_set_vae)
    if len({scored(subject) for subject in subjects.values()}) > 1:
        kinds = ", ".join(f"{name}: {scored(subject)}" for name, subject in subjects.items())
        raise UserError(f"--model: expected models that score the same values, got {kinds}. Leave some out.")
    entries: dict[str, dict[str, Any]] = {}
    for name, subject in subjects.items():
        print(f"{name}: {subject.model.name}, {flags.samples} draws")
        entries |= {f"{name}/{measure}": one for measure, one in measured(subject, flags).items()}
    first = next(iter(subjects.values()))
    path = draw(out / "single_images.png", list(subjects), entries, unit(first))
    return Report(first.config, facts_of(subjects), entries, {}, [path])


def measured(subject: Subject, flags: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Bounds of one model."""
    rows = draw_sets(subject, flags.split, 1, flags.images)
    found = bounds_of(subject, values_of(subject, rows, flags.split), flags.samples)
    how = f"{len(rows)} {subject.config.data.dataset} {flags.split} images, each on its own, {scored(subject)}; "
    how += f"{flags.samples} draws"

    def nats(values: np.ndarray, title: str) -> dict[str, Any]:
        return entry(mean_per_image(values, len(rows), 1), unit(subject), f"{title}; {how}")

    return {
        "nll": nats(-found.bound, "importance-weighted bound on -log p(x)"),
        "nelbo": nats(-found.elbo, "bound of 1 draw on -log p(x), mean over draws"),
        "monte_carlo_error": nats(found.standard_error, "standard error over draws of the bound of an image"),
        "effective_draws": entry(
            detection.mean_estimate(found.effective_sample_size), "draws", f"effective sample size; {how}"
        ),
    }


def draw(path: Path, names: list[str], entries: dict[str, dict[str, Any]], text: str) -> Path:
    """Both bounds of every model."""
    with plots.figure(path) as axes:
        places = np.arange(len(names))
        for measure, label in (("nelbo", "bound of 1 draw"), ("nll", "importance-weighted bound")):
            values = [entries[f"{name}/{measure}"]["value"] for name in names]
            errors = [entries[f"{name}/{measure}"]["standard_error"] for name in names]
            axes[0].errorbar(values, places, xerr=errors, fmt="o", markersize=4, label=label)
        axes[0].set_yticks(places, names, fontsize=8)
        axes[0].set_xlabel(f"-log p(x), {text}", fontsize=8)
        axes[0].invert_yaxis()
        axes[0].legend(fontsize=8)
    return path

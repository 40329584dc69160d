"""Which few points of a set tell its latent most of what all of them tell: greedy summaries of sets in the plane.

`summaries.png`, one column per set: the given points with the kept ones in red; a set drawn given all points, below the
kept ones; a set drawn given the kept ones alone. Entries: KL(q(c | all) || q(c | kept)) of the greedy choice and of
points kept at random. Source: Edwards & Storkey 2017, arXiv:1606.02185, section 5.2.
"""

import argparse
from pathlib import Path

import jax
import numpy as np

from exflow.errors import UserError
from exflow.evaluation import placement
from exflow.evaluation.analysis import subset_selection
from exflow.evaluation.metrics import detection
from exflow.evaluation.pictures.vector_pictures import draw_given_sets, scatter, shown_ranges
from experiments import plots
from experiments.latents import one_set_per_class, open_set_vae, usual_size
from experiments.report import Report, entry
from experiments.subject import BATCH_SIZE, add_subject_arguments, positive

RED, GREY = "#c81e1e", "0.6"
RANDOM_DRAWS = 100  # subsets of a set to compare with


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    add_subject_arguments(parser)
    parser.add_argument("--sets", type=int, default=10, help="evenly spread over the split; default: 10")
    parser.add_argument("--set_size", type=int, default=0, help="points given; default: that of the model's evaluation")
    parser.add_argument("--kept", type=int, default=6, help="points to keep; default: 6, as in the paper")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """Divergences as entries, the way to every summary as series, one picture."""
    positive(flags, "sets", "kept")
    subject = open_set_vae(flags, set_latents=True)
    model = subject.model.core
    if model.image_shape != (1, 1, 2):
        shape = "x".join(map(str, model.image_shape))
        raise UserError(f"--model: expected one of points in the plane, got elements of {shape}. See spatial_mnist.")
    size = usual_size(subject, flags.set_size)
    if flags.kept >= size:
        raise UserError(f"--kept: expected less than the {size} points of a set, got {flags.kept}.")
    rows = one_set_per_class(subject, flags.split, size, flags.sets)
    given, params = subject.images(rows, flags.split), placement.on_one_device(subject.model.params)
    elements, mask = subject.encode(given, use=0), np.ones(rows.shape, bool)
    summary = jax.device_get(subset_selection.summarize(model, params, elements, mask, flags.kept))
    at_random = subject.rng(0).permuted(np.broadcast_to(np.arange(size), (len(rows), RANDOM_DRAWS, size)), axis=2)
    random = np.asarray(subset_selection.divergences(model, params, elements, mask, at_random < flags.kept))
    protocol = f"KL(q(c | all) || q(c | kept)), {flags.kept} of {size} points, {len(rows)} {flags.split} sets"
    entries = {
        "divergence/greedy": entry(detection.mean_estimate(summary.divergence[:, -1]), "nats", f"{protocol}; greedy"),
        "divergence/random": entry(
            detection.mean_estimate(random.mean(axis=1)), "nats", f"{protocol}; mean of {RANDOM_DRAWS} random choices"
        ),
        "divergence/best_random": entry(
            detection.mean_estimate(random.min(axis=1)), "nats", f"{protocol}; best of {RANDOM_DRAWS} random choices"
        ),
    }
    kept = np.stack([points[chosen] for points, chosen in zip(given, summary.kept, strict=True)])
    drawn = [
        draw_given_sets(model, params, subject.key(use), x, size, BATCH_SIZE) for use, x in ((1, given), (2, kept))
    ]
    path = write_figure(out / "summaries.png", given[:, :, 0, 0], kept[:, :, 0, 0], *drawn)
    series = {
        "points": given[:, :, 0, 0],
        "kept": [np.flatnonzero(chosen) for chosen in summary.kept],
        "removed": summary.removed,
        "divergence": summary.divergence,
    }
    return Report(subject.config, subject.facts, entries, series, [path])


def write_figure(path: Path, given: np.ndarray, kept: np.ndarray, from_all: np.ndarray, from_kept: np.ndarray) -> Path:
    """Three rows: given points, a set drawn given all of them, one drawn given the kept ones, which are red."""
    ranges, number = shown_ranges(given), len(given)
    with plots.figure(path, columns=number, rows=3, width=1.5, height=1.5) as axes:
        for at in range(number):
            for row, points in enumerate((given, from_all, from_kept)):
                one = axes[row * number + at]
                scatter(one, points[at], ranges, GREY, 4.0)
                scatter(one, kept[at], ranges, RED, 16.0)
        for row, name in enumerate(("given", "from all", "from kept")):
            axes[row * number].set_ylabel(name, fontsize=8)
    return path

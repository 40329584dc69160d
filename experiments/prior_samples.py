"""Samples given nothing.

`prior_samples_independent.png`: every image on its own, --grids grids of them, as in the paper.
`prior_samples_coherent.png`: every row is a set of one invented class. The entries tell how much a row's earlier images
help to predict the later ones, log p(x_n | x_<n) - log p(x_n): above 0 where the rows have a class, near 0 where not.
"""

import argparse
from pathlib import Path

import jax
import numpy as np

from exflow.evaluation import compiled, placement
from exflow.evaluation.metrics import detection
from exflow.evaluation.pictures import sampling
from exflow.evaluation.pictures.grids import grid_picture, save, tile
from experiments.report import Report, entry
from experiments.subject import add_subject_arguments, open_subject, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    add_subject_arguments(parser, split=None)
    parser.add_argument("--rows", type=int, default=10, help="of a grid; default: 10")
    parser.add_argument("--columns", type=int, default=10, help="of a grid; default: 10")
    parser.add_argument("--grids", type=int, default=3, help="default: 3")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """Two pictures, and how much the images of a row have in common."""
    positive(flags, "rows", "columns", "grids")
    subject = open_subject(flags, contexts=False)
    model, params = subject.model.core, placement.on_one_device(subject.model.params)
    invert, entries, figures = subject.inverted, {}, []
    for use, law in enumerate(("independent", "coherent")):
        keys = jax.random.split(subject.key(use), flags.grids)
        grids = [sampling.prior_grid(model, params, key, flags.rows, flags.columns, use == 1) for key in keys]
        names = [f"set {row}" for row in range(1, flags.rows + 1)] if law == "coherent" else None
        picture = tile([grid_picture(grid, invert=invert, names=names) for grid in grids], flags.grids)
        figures.append(save(out / f"prior_samples_{law}.png", picture))
        rows = np.concatenate(grids)
        elements = subject.encode(rows, use=2)
        gain = np.asarray(compiled.conditional_gain(model, params, elements, np.ones(rows.shape[:2], bool)), np.float64)
        protocol = f"log p(x_n | x_<n) - log p(x_n), mean over {len(rows)} rows of {flags.columns} {law} samples"
        entries[f"gain/{law}"] = entry(detection.mean_estimate(gain.mean(axis=1)), "nats/image", protocol)
    return Report(subject.config, subject.facts, entries, {}, figures)

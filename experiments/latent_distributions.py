"""Whether the latents of single images follow their prior, which is known exactly: Gaussian or Student-t.

`latent_distributions.png`: histograms of chosen dimensions with the prior density; by default those of highest
correlation, of worst fit and of median fit. Entries: the Kolmogorov-Smirnov distance over all dimensions, and how many
of them it would take for a draw from the prior (5 %).
"""

import argparse
from pathlib import Path

import numpy as np

from exflow.errors import UserError
from exflow.evaluation import results
from exflow.evaluation.analysis import correlations, latent_distribution
from experiments import plots
from experiments.report import Report
from experiments.subject import add_subject_arguments, open_subject, positive

BINS = 100
POINTS = 400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    add_subject_arguments(parser, split="train")
    parser.add_argument("--images", type=int, default=1000, help="drawn from the split; default: 1000")
    parser.add_argument("--dimensions", type=int, nargs="+", metavar="D", help="to show; default: --panels of them")
    parser.add_argument("--panels", type=int, default=12, help="default: 12")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """Distances as entries; histograms as a figure."""
    positive(flags, "images", "panels")
    subject = open_subject(flags, contexts=False)
    process = correlations.latent_process(subject.model.core, subject.model.params)
    dim = len(process.mean)
    if flags.dimensions and not all(0 <= dimension < dim for dimension in flags.dimensions):
        raise UserError(f"--dimensions: expected numbers from 0 to {dim - 1}, got {flags.dimensions}.")
    sets = subject.image_sets[flags.split]
    rows = np.flatnonzero(sets.exists.reshape(-1))
    rows = subject.rng(0).permutation(rows)[: flags.images]
    z = np.asarray(subject.encode(subject.images(rows, flags.split), use=0).z, np.float64)
    distance = latent_distribution.kolmogorov_smirnov(process, z)
    critical = latent_distribution.critical_distance(len(z))
    how = f"Kolmogorov-Smirnov distance of {len(z)} {flags.split} latents to their prior, over {dim} dimensions"
    entries = {
        f"distance/{name}": results.result(float(value), "", how)
        for name, value in (
            ("median", np.median(distance)),
            ("90th_percentile", np.quantile(distance, 0.9)),
            ("max", distance.max()),
        )
    }
    fit = f"dimensions below {critical:.4f}, which 95 % of dimensions would be if latents were drawn from the prior"
    entries["compatible"] = results.result(float(100 * np.mean(distance < critical)), "%", f"{fit}; {how}")

    chosen = np.asarray(flags.dimensions or latent_distribution.shown_dimensions(process, distance, flags.panels))
    path, columns = out / "latent_distributions.png", min(4, len(chosen))
    with plots.figure(path, columns=columns, rows=-(-len(chosen) // columns), width=3.0, height=2.3) as axes:
        for one, dimension in zip(axes, chosen, strict=False):
            values, spread = z[:, dimension], 4 * np.sqrt(process.variance[dimension])
            low = min(np.quantile(values, 0.005), process.mean[dimension] - spread)
            high = max(np.quantile(values, 0.995), process.mean[dimension] + spread)
            points = np.linspace(low, high, POINTS)
            density = latent_distribution.density(process, np.asarray([dimension]), points[:, np.newaxis])[:, 0]
            one.hist(values, BINS, range=(low, high), density=True, color="0.75", label=f"{flags.split} latents")
            one.plot(points, density, color="firebrick", linewidth=1.2, label="prior")
            one.set_xlabel("value of the latent", fontsize=8)
            one.set_ylabel("density", fontsize=8)
            text = (
                f"z[{dimension}]: correlation {process.correlation[dimension]:.2g}, distance {distance[dimension]:.2g}"
            )
            one.set_title(text, fontsize=7)
            one.set_yticks([])
    series = {"distance": distance, "shown_dimensions": chosen, "critical_distance": critical}
    return Report(subject.config, subject.facts, entries, series, [path])

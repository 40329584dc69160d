"""What the latent of a set of numbers knows of their distribution: figure and probes, for distributions_1d.

`context_probes.png`: posterior means of the test sets' latent along their principal directions, all at one scale,
coloured by the family of their distribution, its mean and its variance, as the data set labels them. Entries: how well
small probes, fitted on posterior means of training sets, find the empirical mean and log standard deviation of test
sets (R^2), and their family (5 nearest neighbours). Source of the figure: Edwards & Storkey 2017, arXiv:1606.02185,
section 5.1.
"""

import argparse
from pathlib import Path

import numpy as np
from jaxtyping import Float

from exflow.data import datasets
from exflow.data.labelled import resolve_options
from exflow.data.registry import ImageSets
from exflow.data.sources.distributions import FAMILIES
from exflow.errors import UserError
from exflow.evaluation import results
from exflow.evaluation.analysis import context_probes
from exflow.evaluation.metrics import detection
from experiments import plots
from experiments.latents import open_set_vae
from experiments.report import Report, entry
from experiments.subject import add_subject_arguments

DATA = "distributions_1d"
MOMENTS = {"mean": "mean", "log_standard_deviation": "log standard deviation"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    add_subject_arguments(parser, split=None)


def run(flags: argparse.Namespace, out: Path) -> Report:
    """Probes as entries, posterior means and labels of the test sets as series, three panels."""
    subject = open_set_vae(flags, set_latents=True)
    data, sets = subject.config.data, subject.image_sets
    if data.dataset != DATA:
        raise UserError(f"--dataset: {data.dataset} does not say what distribution a set is from. Use {DATA}.")
    families = FAMILIES[resolve_options(DATA, **datasets.parse_options(DATA, data.options))["kind"]]
    model = subject.model
    latents = {part: context_probes.context_means(model.core, model.params, sets[part]) for part in sets}
    number = f"{len(latents['test']):,} test sets, probe fitted on {len(latents['train']):,} training sets"
    r2 = context_probes.regression_r2(
        latents["train"], moments(sets["train"]), latents["test"], moments(sets["test"]), subject.rng(0)
    )
    entries = {}
    for name, value in zip(MOMENTS, r2, strict=True):
        protocol = (
            f"ridge regression on random features of the mean of q(c | X), for the {MOMENTS[name]} of X; {number}"
        )
        entries[f"r2/{name}"] = results.result(float(value), "R^2", protocol)
    train, test = labels(sets["train"]), labels(sets["test"])
    family = test[:, 0].astype(int)
    right = context_probes.neighbours_agree(latents["train"], train[:, 0].astype(int), latents["test"], family)
    protocol = f"family of the distribution, by the 5 nearest means of q(c | X); {number}"
    entries["accuracy/family"] = entry(detection.mean_estimate(right.astype(float)), "%", protocol, scale=100)
    for label, name in enumerate(families):
        share = detection.mean_estimate(right[family == label].astype(float))
        entries[f"accuracy/{name}"] = entry(share, "%", f"the same, {(family == label).sum()} sets", scale=100)
    path = write_figure(out / "context_probes.png", latents["test"], test, families)
    series = {"posterior_means": latents["test"], "labels": test, "families": families}
    return Report(subject.config, subject.facts, entries, series, [path])


def moments(sets: ImageSets) -> Float[np.ndarray, "sets 2"]:
    """Mean and log standard deviation of the numbers of every set."""
    numbers = sets.images[sets.index].reshape(len(sets.index), -1).astype(np.float64)
    return np.stack([numbers.mean(axis=1), np.log(numbers.std(axis=1))], axis=1)


def labels(sets: ImageSets) -> Float[np.ndarray, "sets 3"]:
    """Number of the family, mean and variance of every set's distribution, as the data set defines them."""
    assert sets.context is not None
    return sets.context[sets.index[:, 0]]


def write_figure(path: Path, means: np.ndarray, facts: np.ndarray, families: tuple[str, ...]) -> Path:
    """Three panels of the same points in three dimensions."""
    points = context_probes.whitening(means)(means)[:, :3]
    points = np.pad(points, [(0, 0), (0, 3 - points.shape[1])])
    with plots.figure(path, columns=3, height=4.0, projection="3d") as axes:
        for label, name in enumerate(families):
            axes[0].scatter(*points[facts[:, 0] == label].T, s=5, label=name, linewidths=0)
        for one, column, name in zip(axes[1:], (1, 2), ("mean", "variance"), strict=True):
            drawn = one.scatter(*points.T, s=5, c=facts[:, column], cmap="viridis", linewidths=0)
            one.figure.colorbar(drawn, ax=one, shrink=0.6, pad=0.1)
            one.set_title(name, fontsize=9)
        axes[0].set_title("family", fontsize=9)
    return path

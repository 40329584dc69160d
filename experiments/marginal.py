"""Importance-weighted bounds of a set VAE on the negative log-likelihood of sets and of the next image of a set.

`nll/n`: every set of n images has one weight per draw of all its latents; the bound is that of exactly --samples draws.
`nelbo/n`: the bound of one draw, mean over the same draws on the same sets, so that the two can be compared in pairs.
`nested_nll/n`, of models with a single latent of the set: as many draws of the latents of the images, --inner for each
draw of that of the set, averaged image by image. It is tighter the larger the sets. `monte_carlo_error/n` tells by how
much a bound would change with other draws, `effective_draws/n` how many draws carry the weight: bounds with few are
loose. `prediction/t`: the bound for t + 1 images minus that for the first t, which estimates -log p(x_t+1 | x_1..t) but
bounds it from neither side. `predictive/t`, of models with a single latent of the set: a bound from above on -log of
the density that samples given t images have, the integral of q(c | x_1..t) p(x_t+1 | c).
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from exflow.errors import UserError
from exflow.evaluation.metrics import detection
from experiments import plots
from experiments.cardinality import add_size_arguments, mean_per_image
from experiments.latents import bounds_of, draw_sets, latents_of, open_set_vae, regrouped, unit, values_of
from experiments.published_set_vae import published_bound, published_prediction
from experiments.report import Report, entry
from experiments.subject import Subject, add_subject_arguments, positive

SIZES = [2, 5, 10, 20]
PANELS = {  # of the figure, and what its curves are
    "nelbo": (0, "bound of 1 draw"),
    "nll": (0, "importance-weighted bound"),
    "nested_nll": (0, "nested bound"),
    "prediction": (1, "difference of bounds"),
    "predictive": (1, "bound for samples given the set"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    add_subject_arguments(parser)
    add_size_arguments(parser, SIZES, sets=10)
    parser.add_argument("--samples", type=int, default=100, help="draws of the latents; default: 100, in papers 1000")
    parser.add_argument("--inner", type=int, default=10, help="of them, per draw of the latent of the set; default: 10")
    parser.add_argument("--positions", type=int, default=10, help="images to predict one by one, 0: none; default: 10")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """Bounds as entries and as a figure."""
    positive(flags, "set_sizes", "samples", "inner")
    subject = open_set_vae(flags)
    if single_context(subject) and flags.inner > flags.samples:
        raise UserError(f"--inner: expected at most --samples={flags.samples}, got {flags.inner}.")
    entries = set_entries(subject, flags)
    entries |= prediction_entries(subject, flags) if flags.positions > 0 else {}
    series = {name: curve(entries, name) for name in PANELS if curve(entries, name)}
    path = draw(out / "marginal.png", series, unit(subject))
    return Report(subject.config, subject.facts, entries, series, [path])


def draw(path: Path, series: dict[str, dict[str, list[float]]], text: str) -> Path:
    """Bounds of sets over their size, and of the next element over how many are given."""
    with plots.figure(path, columns=2) as axes:
        for name, numbers in series.items():
            x, values, errors = (np.asarray(numbers[key]) for key in ("x", "value", "standard_error"))
            panel, label = PANELS[name]
            plots.band(axes[panel], x, values, errors, label=label)
        axes[0].set_title("-log p(X) / n", fontsize=9)
        axes[1].set_title("-log p(x | given)", fontsize=9)
        plots.count_axis(axes[0], "elements in a set, n")
        plots.count_axis(axes[1], "elements given")
        for one in axes:
            one.set_ylabel(text, fontsize=8)
    return path


def single_context(subject: Subject) -> bool:
    """Whether the model has one latent of the set."""
    return latents_of(subject).num_set_latents == 1


def set_entries(subject: Subject, flags: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Bounds for whole sets, of all sizes from the same images."""
    most = int(np.asarray(subject.image_sets[flags.split].count).max())
    sizes = sorted({size for size in flags.set_sizes if size <= most}) or [min(flags.set_sizes)]
    rows = draw_sets(subject, flags.split, sizes[-1], flags.sets)
    values, entries = values_of(subject, rows, flags.split), {}
    for size in sizes:
        print(f"sets of {size}, {flags.samples} draws")
        sets = regrouped(values, size)
        how = f"{len(sets)} {subject.config.data.dataset} {flags.split} sets of {size}, {flags.samples} draws"
        found = bounds_of(subject, sets, flags.samples)
        bound = mean_per_image(-found.bound, len(rows), size)
        reference = published_bound(subject, flags.split, size, flags.samples)
        title = "importance-weighted bound on -log p(X) / n"
        entries[f"nll/{size}"] = entry(bound, unit(subject), f"{title}; {how}", published=reference)
        single, reference = mean_per_image(-found.elbo, len(rows), size), published_bound(subject, flags.split, size)
        title = "bound of 1 draw on -log p(X) / n, mean over draws"
        entries[f"nelbo/{size}"] = entry(single, unit(subject), f"{title}; {how}", published=reference)
        if flags.samples > 1:
            error = mean_per_image(found.standard_error, len(rows), size)
            how = f"mean over sets; {how}"
            entries[f"monte_carlo_error/{size}"] = entry(error, unit(subject), f"standard error of a bound / n, {how}")
            effective = detection.mean_estimate(found.effective_sample_size)
            entries[f"effective_draws/{size}"] = entry(effective, "draws", f"effective sample size, {how}")
        if single_context(subject):
            nested = bounds_of(subject, sets, flags.samples, inner=flags.inner)
            how = f"{len(sets)} sets of {size}, {flags.samples // flags.inner} x {flags.inner} draws"
            estimate = mean_per_image(-nested.bound, len(rows), size)
            entries[f"nested_nll/{size}"] = entry(estimate, unit(subject), f"nested bound on -log p(X) / n; {how}")
    return entries


def prediction_entries(subject: Subject, flags: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Densities of the next image given t, as differences of bounds with common random numbers."""
    most = int(np.asarray(subject.image_sets[flags.split].count).max())
    number = min(flags.positions, most)
    values = values_of(subject, draw_sets(subject, flags.split, number, flags.sets), flags.split)
    before, entries = np.zeros(len(values)), {}
    for given in range(number):
        print(f"image {given + 1} of {number}")
        mask = np.broadcast_to(np.arange(number) <= given, values.shape[:2])
        bound = bounds_of(subject, values, flags.samples, mask=mask).bound
        estimate, before = detection.mean_estimate(before - bound), bound
        what = f"-log p(x_{given + 1} | {given} given) as a difference of bounds"
        protocol = f"{what}; {len(values)} {flags.split} sets, {flags.samples} draws"
        reference = published_prediction(subject, flags.split, given, flags.samples)
        entries[f"prediction/{given}"] = entry(estimate, unit(subject), protocol, published=reference)
        if single_context(subject):
            estimate = detection.mean_estimate(-bounds_of(subject, values, flags.samples, given=given).bound)
            what = f"bound on -log of the density of samples given {given} at x_{given + 1}"
            protocol = f"{what}; {len(values)} {flags.split} sets, {flags.samples} draws"
            entries[f"predictive/{given}"] = entry(estimate, unit(subject), protocol)
    return entries


def curve(entries: dict[str, Any], name: str) -> dict[str, list[float]]:
    """The entries `name/x` as arrays by x; empty if there are none."""
    found = {int(title.partition("/")[2]): one for title, one in entries.items() if title.startswith(f"{name}/")}
    values = {key: [one[key] for one in found.values()] for key in ("value", "standard_error")}
    return {"x": list(found), **values} if found else {}

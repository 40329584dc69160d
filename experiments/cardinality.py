"""Evidence lower bound of a set VAE against the number of images in a set, with its parts, in nats per image.

Sets of every size are cut from the same images, so that differences between sizes are those of the model and not of the
images; binary images have the same binarisation at every size. Sizes that the classes do not have are left out.
`cardinality.png`: the bound (x: published), and what the latents of images and of sets and the reconstruction cost.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from exflow.evaluation.metrics import detection
from exflow.evaluation.scoring.latents import SetTerms
from exflow.evaluation.scoring.likelihood import Estimate, bits_per_dim
from experiments import plots
from experiments.latents import draw_sets, open_set_vae, regrouped, terms_of, unit, values_of
from experiments.published_set_vae import published_bound
from experiments.report import Report, entry
from experiments.subject import Subject, add_splits_argument, add_subject_arguments, positive

SIZES = [1, 2, 5, 10, 20]
PARTS = {
    "nelbo": "negative evidence lower bound",
    "reconstruction": "reconstruction",
    "kl_z": "KL of z",
    "kl_c": "KL of c",
}


def add_size_arguments(parser: argparse.ArgumentParser, sizes: list[int], sets: int = 50) -> None:
    """Options of experiments on sets of several sizes."""
    text = " ".join(map(str, sizes))
    parser.add_argument("--set_sizes", type=int, nargs="+", default=sizes, metavar="N", help=f"default: {text}")
    parser.add_argument("--sets", type=int, default=sets, help=f"of the largest size, 0: all; default: {sets}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    add_subject_arguments(parser, split=None)
    add_size_arguments(parser, SIZES)
    parser.add_argument("--draws", type=int, default=1, help="of the latents, to average the bound over; default: 1")
    add_splits_argument(parser, "test", "train")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """The bound and its parts as entries and as a figure."""
    positive(flags, "set_sizes", "draws")
    subject = open_set_vae(flags)
    entries, series = {}, {}
    for split in flags.splits:
        prefix = "" if split == "test" else f"{split}_"
        found = {size: terms for size, (_, terms) in measure(subject, split, flags).items()}
        entries |= bound_entries(subject, split, found, flags.draws, prefix)
        series[split] = {"set_size": list(found)} | {
            part: [entries[f"{prefix}{part}/{size}"]["value"] for size in found] for part in PARTS
        }
    path = draw(out / "cardinality.png", entries, series, unit(subject))
    return Report(subject.config, subject.facts, entries, series, [path])


def measure(subject: Subject, split: str, flags: argparse.Namespace) -> dict[int, tuple[np.ndarray, SetTerms]]:
    """Per set size what the likelihood scores, and the terms of the bound per image, means over sets of equal images.

    The terms belong to the largest sets: of smaller ones to those that a largest one is cut into.
    """
    most = int(np.asarray(subject.image_sets[split].count).max())
    sizes = sorted({size for size in flags.set_sizes if size <= most}) or [min(flags.set_sizes)]
    if len(sizes) < len(set(flags.set_sizes)):
        print(f"{split} classes have up to {most} images: set sizes {', '.join(map(str, sizes))}")
    rows = draw_sets(subject, split, sizes[-1], flags.sets)
    values, found = values_of(subject, rows, split), {}
    for size in sizes:
        print(f"{split} sets of {size}")
        sets = regrouped(values, size)
        terms = terms_of(subject, sets, getattr(flags, "draws", 1))
        found[size] = (sets, SetTerms(*(per_image(leaf, len(rows), size) for leaf in terms)))
    return found


def per_image(values: np.ndarray, groups: int, size: int) -> np.ndarray:
    """Values of sets of a size, per image and averaged over the sets of each group."""
    return values.reshape(groups, -1, *values.shape[1:]).mean(axis=1) / size


def mean_per_image(values: np.ndarray, groups: int, size: int) -> Estimate:
    """Mean of values of sets per image, and its standard error over groups of sets."""
    return detection.mean_estimate(per_image(values, groups, size))


def bound_entries(
    subject: Subject, split: str, found: dict[int, SetTerms], draws: int, prefix: str = ""
) -> dict[str, dict[str, Any]]:
    """Entries of the bound and its parts for every set size; of pixels with 256 values also bits per dimension."""
    model, entries = subject.model.core, {}
    name = subject.config.data.dataset
    for size, terms in found.items():
        number = "1 draw" if draws == 1 else f"mean over {draws} draws"
        how = f"{len(terms.elbo)} groups of {name} {split} sets of {size}, {number} of the latents"
        numbers = {
            "nelbo": -terms.elbo,
            "reconstruction": -terms.log_prob,
            "kl_z": terms.kl_examples.sum(axis=1),
            "kl_c": terms.kl_set.sum(axis=1),
        }
        for part, values in numbers.items():
            reference = published_bound(subject, split, size) if part == "nelbo" else None
            estimate = detection.mean_estimate(values)
            title = f"{prefix}{part}/{size}"
            entries[title] = entry(estimate, unit(subject), f"{PARTS[part]}; {how}", published=reference)
        if many_valued(subject):
            estimate, scale = detection.mean_estimate(-terms.elbo), bits_per_dim(1.0, model.image_shape)
            entries[f"{prefix}bits_per_dim/{size}"] = entry(estimate, "bits/dim", f"{PARTS['nelbo']}; {how}", scale)
    return entries


def many_valued(subject: Subject) -> bool:
    """Whether the likelihood is that of pixels with 256 values."""
    law = subject.model.core.latents.likelihood
    return law.discrete and law.name != "bernoulli"


def draw(path: Path, entries: dict[str, Any], series: dict[str, Any], text: str) -> Path:
    """One panel per part, a curve per split."""
    with plots.figure(path, columns=len(PARTS)) as panels:
        for axes, (part, title) in zip(panels, PARTS.items(), strict=True):
            for split, numbers in series.items():
                prefix, sizes = "" if split == "test" else f"{split}_", np.asarray(numbers["set_size"])
                at = [entries[f"{prefix}{part}/{size}"] for size in sizes]
                errors = np.asarray([one["standard_error"] for one in at])
                plots.band(axes, sizes, np.asarray(numbers[part]), errors, label=split)
                known = {
                    size: one["published"]["value"] for size, one in zip(sizes, at, strict=True) if one["published"]
                }
                if known:
                    axes.plot(list(known), list(known.values()), "kx", markersize=5, label="published")
            axes.set_xscale("log")
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.minorticks_off()
            axes.set_title(title, fontsize=9)
            axes.set_xlabel("elements in a set", fontsize=8)
            axes.set_ylabel(text, fontsize=8)
    return path

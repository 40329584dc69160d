"""Bounds of a set VAE on another data set than it was trained on, against the number of images in a set.

`nelbo/n` is the evidence lower bound, and with --samples=K `nll/n` the importance-weighted bound of K draws. Images
become what the model saw in training: of a Bernoulli likelihood pixels are drawn with their brightness as probability.

    python -m experiments transfer --model=DIR --dataset=mnist
    python -m experiments transfer --model=DIR --dataset=multi_mnist --dataset_options=digits=3,per_class=100
"""

import argparse
from pathlib import Path

from experiments import cardinality
from experiments.cardinality import add_size_arguments, bound_entries, measure
from experiments.latents import bounds_of, open_set_vae, unit
from experiments.published_set_vae import published_bound
from experiments.report import Report, entry
from experiments.subject import add_subject_arguments, positive

SIZES = [2, 5, 10, 20]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    add_subject_arguments(parser)
    add_size_arguments(parser, SIZES)
    parser.add_argument("--samples", type=int, default=1, help="draws of the latents for nll/n; default: 1, without it")
    parser.set_defaults(dataset="mnist")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """Bounds as entries and as a figure."""
    positive(flags, "set_sizes", "samples")
    subject = open_set_vae(flags)
    found = measure(subject, flags.split, flags)
    entries = bound_entries(subject, flags.split, {size: terms for size, (_, terms) in found.items()}, 1)
    for size, (sets, terms) in found.items() if flags.samples > 1 else ():
        bound = bounds_of(subject, sets, flags.samples).bound
        estimate = cardinality.mean_per_image(-bound, len(terms.elbo), size)
        how = f"{len(sets)} {subject.config.data.dataset} {flags.split} sets of {size}, {flags.samples} draws"
        reference = published_bound(subject, flags.split, size, flags.samples)
        entries[f"nll/{size}"] = entry(
            estimate, unit(subject), f"importance-weighted bound; {how}", published=reference
        )
    numbers = {part: [entries[f"{part}/{size}"]["value"] for size in found] for part in cardinality.PARTS}
    series = {flags.split: {"set_size": list(found)} | numbers}
    path = cardinality.draw(out / "transfer.png", entries, series, unit(subject))
    return Report(subject.config, subject.facts, entries, series, [path])

"""Negative log-likelihood of sets: mean of -log p(x_n | x_<n), and of single images (prior), in nats and bits/dim.

With --noise_draws=K the entries `*_bound` average the density over K draws of the dequantization noise, which is a
tighter bound on the discrete likelihood than the mean of single draws; binarised images have no such noise. The figure
shows the first, second, ... image of a set, from one draw and at most 4,000 images per split; sets that a class is too
small to fill count only where every set is one.
"""

import argparse
from pathlib import Path

import numpy as np

from exflow import evaluation
from exflow.errors import UserError
from exflow.evaluation import encoding
from exflow.evaluation.scoring import likelihood
from exflow.evaluation.scoring.likelihood import Estimate
from experiments import plots
from experiments.report import Report, entry
from experiments.subject import BATCH_SIZE, Subject, add_splits_argument, add_subject_arguments, open_subject, positive

MAX_IMAGES = 4_000  # of a split, for the values by position


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    add_subject_arguments(parser, split=None)
    parser.add_argument("--noise_draws", type=int, default=1, help="dequantization draws per image; default: 1")
    parser.add_argument("--set_size", type=int, default=20, help="images per set; default: 20, as in the paper")
    add_splits_argument(parser, "test", "train")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """Likelihoods as entries, and by position in the set as a figure."""
    positive(flags, "noise_draws", "set_size")
    subject = open_subject(flags)
    latents = subject.model.core.latents
    if flags.noise_draws > 1 and latents is not None and latents.likelihood.name == "bernoulli":
        raise UserError(
            f"--noise_draws: expected 1 for binarised images, got {flags.noise_draws}: every draw is another image, "
            "and the mean over images bounds nothing. For draws of the latents use python -m experiments marginal."
        )
    options = subject.config.evaluation
    options.settings, options.noise_draws, options.nll_set_size = (), flags.noise_draws, flags.set_size
    model, entries, series = subject.model, {}, {}
    noun = likelihood.noun(model.core)
    path = out / "nll.png"
    with plots.figure(path) as (axes,):
        for split in flags.splits:
            entries |= evaluation.evaluate_split(
                subject.config,
                model.core,
                model.params,
                subject.image_sets[split],
                split,
                subject.transform,
                print,
            )
            mean, error, number = by_position(subject, split, flags.set_size)
            series[split] = {"position": np.arange(1, len(mean) + 1), "nll": mean, "standard_error": error}
            series[split]["num_sets"] = number
            for name, at in (("first", 0), ("last", len(mean) - 1)):
                sets = f"{number[at]} sets of at most {MAX_IMAGES:,} {split} {noun}s"
                protocol = f"-log p(x_n | x_<n) at n = {at + 1}, {sets}, 1 noise draw"
                entries[f"{split}_nll_{name}"] = entry(Estimate(mean[at], error[at]), f"nats/{noun}", protocol)
            plots.band(axes, series[split]["position"], mean, error, label=split)
        plots.count_axis(axes, "n, place in the set")
        axes.set_ylabel("-log p(x_n | x_<n), nats", fontsize=8)
    return Report(subject.config, subject.facts, entries, series, [path])


def by_position(subject: Subject, split: str, set_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of -log p(x_n | x_<n) over the sets that have an n-th image, n = 1, 2, ... up to the largest set.

    Returns:
      `(mean, standard error, number of sets)` by position, nats per image.
    """
    sets = subject.image_sets[split]
    limit = set_size * max(1, MAX_IMAGES // (set_size * len(sets.count)))
    chosen = slice(max(1, MAX_IMAGES // limit))
    few = sets._replace(index=sets.index[chosen, :limit], count=np.minimum(sets.count[chosen], limit))
    model = subject.model
    elements = encoding.encode_split(model.core, model.params, subject.key(0), few, (0,), BATCH_SIZE, subject.transform)
    rows = likelihood.draw_sets(np.asarray(few.count), 1, few.index.shape[1], set_size, subject.seed)
    conditional, _ = likelihood.set_log_probs(model.core, model.params, elements, rows)
    whole = rows.mask.all(axis=1)
    mask = rows.mask[whole] if whole.any() else rows.mask[:, rows.mask.any(axis=0)]
    values = -np.asarray(conditional, np.float64)[whole if whole.any() else slice(None), : mask.shape[1]]
    return *plots.mean_and_error(values, mask), mask.sum(axis=0)

"""Models of any family beside each other on the same test sets: likelihood, few-shot accuracy, speed of sampling.

    python -m experiments comparison --model=runs/bruno --model=runs/ns --model=runs/scha --out=runs/comparison

All have to be trained on one division of one data set, so that nobody has seen the test classes. Few-shot accuracies
and speeds of sampling can be compared between all of them. Likelihoods can be compared only where the same thing is
scored, which every entry names, of images of one size: gray levels or colours by density with dequantization noise
(BRUNO, exact up to that noise) or by a lower bound on their probability (set VAEs with a discrete likelihood),
binarised pixels by such a bound, real numbers by a density. A bound of one draw is that of the README's table of set
VAEs; --importance_samples tightens it for all set VAEs alike.
"""

import argparse
import math
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from exflow import evaluation
from exflow.evaluation import results
from experiments import plots
from experiments.report import Report
from experiments.several import facts_of, open_subjects, scored
from experiments.subject import Subject, add_subject_arguments, open_subject, positive

SETTINGS = ((5, 1), (5, 5), (20, 1), (20, 5))
REPEATS = 5  # of the drawing of samples, after one for warming up


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options; --model is given once per model."""
    add_subject_arguments(parser, split=None)
    parser.add_argument("--set_size", type=int, default=5, help="images per set of the likelihoods; default: 5")
    parser.add_argument(
        "--importance_samples", type=int, default=1, help="latent draws of a set VAE's bound; default: 1"
    )
    parser.add_argument("--trials", type=int, default=2, help="few-shot trials, each queries every class; default: 2")
    parser.add_argument("--samples", type=int, default=200, help="images drawn to measure the speed; default: 200")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """One entry per model and measure, and a figure."""
    positive(flags, "set_size", "importance_samples", "trials", "samples")
    subjects = open_subjects(flags, open_subject)
    subjects = {name: with_draws(subject, flags.importance_samples) for name, subject in subjects.items()}
    entries: dict[str, dict[str, Any]] = {}
    for name, subject in subjects.items():
        print(f"{name}: {subject.model.name}")
        entries |= {f"{name}/{measure}": one for measure, one in measured(subject, flags).items()}
    path = draw(out / "comparison.png", list(subjects), entries)
    return Report(next(iter(subjects.values())).config, facts_of(subjects), entries, {}, [path])


def with_draws(subject: Subject, number: int) -> Subject:
    """The subject with bounds of so many draws of the latents; exact models stay as they are."""
    sets = subject.model.core.sets
    if sets is not None and not sets.exact:
        subject.config.evaluation.importance_samples = number
    return subject


def measured(subject: Subject, flags: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Likelihood, accuracies and speed of one model."""
    config, model = subject.config, subject.model
    config.evaluation.nll_set_size, config.evaluation.num_trials = flags.set_size, flags.trials
    config.data.rotate = False  # the same classes for all: upright ones
    latents = model.core.latents
    classifies = latents is None or latents.num_set_latents > 0  # all but a VAE, to which classes are alike
    config.evaluation.settings = SETTINGS if classifies else ()
    found = evaluation.evaluate_split(
        config, model.core, model.params, subject.image_sets["test"], "test", subject.transform, print
    )
    entries = {}
    for measure in [name for name in ("test_nll", "test_bits_per_dim") if name in found]:  # vectors have no bits/dim
        entry = found[measure]
        entries[measure] = entry | {"protocol": f"{scored(subject)}; {entry['protocol']}"}
    entries |= {name: entry for name, entry in found.items() if name.startswith("few_shot/")}
    return entries | {"samples_per_second": sampling_speed(subject, flags)}


def sampling_speed(subject: Subject, flags: argparse.Namespace) -> dict[str, Any]:
    """Images drawn per second given a set, the time of the fastest and slowest call as the range."""
    model, image_sets, state, rows, seconds = subject.model, subject.image_sets["test"], None, np.arange(0), []
    if model.core.sets is not None:  # others draw from what their sampler was fitted to
        rows = np.arange(min(flags.set_size, int(image_sets.count[0])))
        state = model.update(model.init_state(), subject.images(rows, "test"))
    for repeat in range(REPEATS + 1):
        start = time.perf_counter()
        jax.block_until_ready(model.sample(state, jax.random.key(repeat), flags.samples))
        seconds.append(time.perf_counter() - start)
    rates = sorted(flags.samples / one for one in seconds[1:])
    protocol = (
        f"{flags.samples} images given {len(rows)} in one call, median of {REPEATS} calls after one, "
        f"range {rates[0]:.0f} to {rates[-1]:.0f}"
    )
    return results.result(statistics.median(rates), "images/s", protocol)


def draw(path: Path, names: list[str], entries: dict[str, dict[str, Any]]) -> Path:
    """Accuracies, which all models share: groups of bars, one per setting, with 95 % intervals where they are known."""
    width = 0.8 / len(names)
    with plots.figure(path) as (axes,):
        for number, name in enumerate(names):
            known = [entries.get(f"{name}/few_shot/{way}way_{shot}shot") for way, shot in SETTINGS]
            places = [place + (number - (len(names) - 1) / 2) * width for place, entry in enumerate(known) if entry]
            values = [entry["value"] for entry in known if entry]
            errors = [entry.get("ci95") or math.nan for entry in known if entry]
            axes.bar(places, values, width, yerr=errors, error_kw={"linewidth": 0.8}, label=name)
        axes.set_xticks(range(len(SETTINGS)), [f"{way}-way {shot}-shot" for way, shot in SETTINGS])
        axes.set_ylim(0, 104 + 8 * len(names))  # the legend stands above the bars
        axes.set_yticks(range(0, 101, 20))
        axes.set_ylabel("accuracy, %", fontsize=8)
    return path

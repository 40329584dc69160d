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
from exflow.errors import UserError
from exflow.evaluation import results
from exflow.models.registry import num_parameters
from experiments import plots
from experiments.report import Report
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
    names = [Path(model).name for model in flags.model]
    if len(set(names)) < len(names):
        raise UserError(f"--model: expected different names, got {', '.join(names)}. Rename a working directory.")
    subjects = [open_subject(argparse.Namespace(**vars(flags) | {"model": [model]})) for model in flags.model]
    check_same_data(names, subjects)
    subjects = [with_draws(subject, flags.importance_samples) for subject in subjects]
    entries: dict[str, dict[str, Any]] = {}
    for name, subject in zip(names, subjects, strict=True):
        print(f"{name}: {subject.model.name}")
        entries |= {f"{name}/{measure}": one for measure, one in measured(subject, flags).items()}
    path = draw(out / "comparison.png", names, entries)
    facts = {
        "models": {
            name: {"model": subject.model.name, "num_parameters": num_parameters(subject.model.params)}
            | {"scores": scored(subject), **subject.model.info}
            for name, subject in zip(names, subjects, strict=True)
        }
    }
    return Report(subjects[0].config, facts, entries, {}, [path])


def check_same_data(names: list[str], subjects: list[Subject]) -> None:
    """Refuse models that were not tested on the same classes.

    Raises:
      UserError: Names the first that differs.
    """

    def classes(subject: Subject) -> tuple:
        data = subject.config.data
        return data.dataset, data.split, data.options

    for name, subject in zip(names, subjects, strict=True):
        if classes(subject) != classes(subjects[0]):
            raise UserError(
                f"--model: {name} has test classes of {classes(subject)}, {names[0]} of {classes(subjects[0])}. "
                "Train both on one division: --config.data.dataset=... --config.data.split=..."
            )


def with_draws(subject: Subject, number: int) -> Subject:
    """The subject with bounds of so many draws of the latents; exact models stay as they are."""
    sets = subject.model.core.sets
    if sets is not None and not sets.exact:
        subject.config.evaluation.importance_samples = number
    return subject


def scored(subject: Subject) -> str:
    """What a likelihood is of; only equal ones can be compared."""
    model = subject.model.core
    height, width, channels = model.image_shape
    if model.of_vectors:
        return f"vectors of {channels}"
    law = None if model.latents is None else model.latents.likelihood
    what = "gray levels" if channels == 1 else f"levels of {channels} colours"
    if law is not None and law.name.startswith("bernoulli"):
        what = "binarised pixels" if channels == 1 else f"binarised {what}"
    elif law is not None and not law.discrete:
        what += f" as real numbers ({law.name})"
    return f"{what}, {height}x{width}"


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

"""Samples given the first 0, 1, ..., n images of a class, below those images; one picture per law.

`samples_independent.png`: every sample is drawn from the predictive on its own, as in the paper.
`samples_coherent.png`: the samples of a column are one set of the same unknown class. The entries tell how often the
model itself gives a sample after all images to the class that it was drawn for, among all classes drawn for; of more
than 24 the pictures show evenly spread ones.
"""

import argparse
from pathlib import Path

import jax
import numpy as np

from exflow.errors import UserError
from exflow.evaluation import compiled, placement
from exflow.evaluation.metrics import detection
from exflow.evaluation.pictures import sampling
from exflow.evaluation.pictures.grids import grid_picture, save, tile
from exflow.evaluation.scoring.few_shot import count_correct
from exflow.evaluation.spread import evenly_spread
from experiments.report import Report, entry
from experiments.subject import add_subject_arguments, open_subject, positive

MAX_SHOWN = 24  # classes in a picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    add_subject_arguments(parser)
    parser.add_argument("--classes", type=int, default=8, help="evenly spread over the split; 0: all; default: 8")
    parser.add_argument("--set_size", type=int, default=0, help="images given; default: up to 20")
    parser.add_argument("--rows", type=int, default=4, help="samples per column; default: 4, as in the paper")
    parser.add_argument("--same_image", action="store_true", help="all given images are the same one")
    parser.add_argument("--last_columns", type=int, default=0, help="show only so many, after the most images")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """Two pictures, and how consistent the samples are with their classes."""
    positive(flags, "rows")
    for name in ("classes", "set_size", "last_columns"):
        if getattr(flags, name) < 0:
            raise UserError(f"--{name}: expected at least 0, got {getattr(flags, name)}.")
    subject = open_subject(flags, contexts=False)
    model, sets = subject.model.core, subject.image_sets[flags.split]
    params = placement.on_one_device(subject.model.params)
    size = flags.set_size or int(min(sets.count.max(), 20))
    usable = np.flatnonzero(sets.count >= size)
    if len(usable) == 0:
        raise UserError(f"--set_size: no {flags.split} class has {size} images. Use at most {sets.count.max()}.")
    classes = evenly_spread(usable, flags.classes or len(usable))
    shown = evenly_spread(np.arange(len(classes)), MAX_SHOWN)
    image = np.zeros(size, int) if flags.same_image else np.arange(size)
    support = subject.images(classes[:, np.newaxis] * sets.index.shape[1] + image, flags.split)
    elements = subject.encode(support, use=0)
    columns = min(flags.last_columns or size + 1, size + 1)
    titles = ["prior", *map(str, range(1, size + 1))][-columns:]
    invert, entries, figures = subject.inverted, {}, []
    for use, law in enumerate(("independent", "coherent")):
        keys = jax.random.split(subject.key(use + 1), len(classes))
        grids = [
            sampling.conditional_grid(
                model, params, keys[at], jax.tree.map(lambda leaf, at=at: leaf[at], elements), flags.rows, use == 1
            )
            for at in range(len(classes))
        ]
        pictures = [
            grid_picture(grids[at][:, -columns:], support[at][-min(columns, size) :], invert, titles) for at in shown
        ]
        figures.append(save(out / f"samples_{law}.png", tile(pictures, 1 if columns > 10 else 2)))
        last = np.stack([grid[:, -1] for grid in grids])
        queries = subject.encode(last.reshape(-1, *last.shape[2:]), use=0)
        mask = np.ones(elements_shape(elements), bool)
        states = compiled.class_states(model, params, elements, mask)
        scores = np.asarray(compiled.class_log_probs(model, params, states, queries))
        target = np.repeat(np.arange(len(classes)), flags.rows)
        correct = count_correct(scores, target)[1].reshape(len(classes), -1).mean(axis=1)
        protocol = f"{law} samples given {size} images that the model gives to their class, of {len(classes)} classes"
        entries[f"consistency/{law}"] = entry(detection.mean_estimate(correct), "%", protocol, scale=100)
    series = {"class_ids": np.asarray(sets.class_ids)[classes], "images_given": size}
    return Report(subject.config, subject.facts, entries, series, figures)


def elements_shape(elements: object) -> tuple[int, int]:
    """Sets and their size."""
    return jax.tree.leaves(elements)[0].shape[:2]

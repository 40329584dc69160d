"""How much weight each image of a set has in the posterior of the latents of the set.

`attention.png`: per row a sample given the set, the weights of every head of the top level as bars, and the set itself.
`attention_levels.png`, of models with latents of the set at several levels: for one set, per row a level from the top,
the sample with the latents down to that level, the weights, and the set. Models that take the mean give equal weights.
The entries tell how many images carry the weight: the exponential of the entropy, from 1 to the size of the set.
"""

import argparse
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from exflow.core.latents.elements import EncodedElement
from exflow.errors import UserError
from exflow.evaluation.metrics import detection
from exflow.evaluation.pictures.grids import visible
from exflow.evaluation.spread import evenly_spread
from exflow.model import LatentFunctions
from exflow.typing import Params, PRNGKey
from experiments import plots
from experiments.latents import draw_sets, latents_of, one_set_per_class, open_set_vae, usual_size, values_of
from experiments.report import Report, entry
from experiments.set_samples import class_ids, encode, to_pixels
from experiments.subject import Subject, add_subject_arguments, positive

MAX_LEVELS = 6  # shown


class Attended(NamedTuple):
    """What was seen of sets, and a sample given each."""

    weights: Float[Array, "level sets head set"]  # of levels with a latent of the set, top first
    set_latents: tuple[Array, ...]
    outputs: Array  # of the sample


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    add_subject_arguments(parser)
    parser.add_argument("--set_size", type=int, default=0, help="default: that of the model's evaluation")
    parser.add_argument("--rows", type=int, default=5, help="sets in the picture; default: 5")
    parser.add_argument("--sets", type=int, default=100, help="to average the entries over; default: 100")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """Weights as series and figures, and on how many images they lie as entries."""
    positive(flags, "rows", "sets")
    subject = open_set_vae(flags, set_latents=True, images=True)
    if subject.config.model.set_vae.aggregation == "max":
        raise UserError("--model: takes the maximum over a set, which has no weights. Choose attention or mean.")
    size, entries = usual_size(subject, flags.set_size), {}
    many = encode(subject, values_of(subject, draw_sets(subject, flags.split, size, flags.sets), flags.split))
    found = _attended(latents_of(subject), subject.model.params, subject.key(0), many)
    for level, weights in enumerate(np.asarray(found.weights, np.float64), 1):
        number = np.exp(-(weights * np.log(np.maximum(weights, 1e-30))).sum(axis=-1)).mean(axis=1)
        how = f"exp(entropy) of the weights, mean over heads, {len(number)} {flags.split} sets of {size}"
        entries[f"images/level_{level}"] = entry(detection.mean_estimate(number), "images", how)
    rows = one_set_per_class(subject, flags.split, size, flags.rows)
    given = values_of(subject, rows, flags.split)
    found = _attended(latents_of(subject), subject.model.params, subject.key(1), encode(subject, given))
    weights = np.asarray(found.weights)
    series = {"classes": class_ids(subject, flags.split, rows), "weights": weights}
    samples = to_pixels(subject, latents_of(subject).likelihood.mean(found.outputs))[:, 0]
    images = to_pixels(subject, given)
    figures = [draw(out / "attention.png", samples, weights[0], images, subject.inverted)]
    if len(weights) > 1:
        levels = evenly_spread(np.arange(len(weights)), MAX_LEVELS)
        partial = samples_down_to(subject, subject.key(1), found, [int(level) + 1 for level in levels])
        same = np.broadcast_to(images[0], (len(levels), *images[0].shape))
        names = [f"level {level + 1}" for level in levels]
        figures.append(draw(out / "attention_levels.png", partial, weights[levels, 0], same, subject.inverted, names))
    return Report(subject.config, subject.facts, entries, series, figures)


@functools.partial(jax.jit, static_argnums=0)
def _attended(latents: LatentFunctions, params: Params, key: PRNGKey, elements: EncodedElement) -> Attended:
    infer_key, key = jax.random.split(key)
    mask = jnp.ones(elements.seed.shape, bool)
    seen, _ = latents.infer(params, elements, mask, infer_key)
    equal = jnp.full((len(mask), 1, mask.shape[1]), 1 / mask.shape[1])
    of_levels = [level.attention for level in seen.levels if level.set_latent is not None]
    weights = jnp.stack([equal if one is None else one for one in of_levels])
    return Attended(weights, seen.set_latents, _generated(latents, params, key, seen.set_latents, None))


def samples_down_to(subject: Subject, key: PRNGKey, found: Attended, numbers: list[int]) -> np.ndarray:
    """The sample of the first set with the latents of so many upper levels only, [number, h, w, c]."""
    params, latents, images = subject.model.params, latents_of(subject), []
    _, key = jax.random.split(key)
    for number in numbers:
        outputs = _generated(latents, params, key, found.set_latents, number)
        images.append(to_pixels(subject, latents.likelihood.mean(outputs))[0, 0])
    return np.stack(images)


@functools.partial(jax.jit, static_argnums=(0, 4))
def _generated(
    latents: LatentFunctions, params: Params, key: PRNGKey, set_latents: tuple[Array, ...], num_levels: int | None
) -> Array:
    shape = (len(set_latents[0]), 1)
    return latents.generate(params, key, shape, set_latents, (), num_levels)[1]


def draw(
    path: Path,
    samples: np.ndarray,
    weights: np.ndarray,
    images: np.ndarray,
    invert: bool,
    names: list[str] | None = None,
) -> Path:
    """Per row a sample, bars of the weights [row, head, set] of every head, and the images of the set.

    All bars have one scale, which stands at the first head; the line is the weight of a mean, 1 / set.
    """
    rows, heads, size = weights.shape
    columns, top = 1 + heads + size, float(max(weights.max(), 2 / size))

    def show(axes: Any, image: np.ndarray) -> None:
        image = visible(image)
        axes.imshow(
            (255 - image if invert else image).squeeze(axis=-1 if image.shape[-1] == 1 else ()),
            cmap="Greys_r",
            vmin=0,
            vmax=255,
        )
        axes.set_xticks([])
        axes.set_yticks([])

    with plots.figure(path, columns, rows, width=1.0, height=1.0) as grid:
        for row in range(rows):
            axes = grid[row * columns : (row + 1) * columns]
            show(axes[0], samples[row])
            axes[0].set_ylabel("" if names is None else names[row], fontsize=7)
            for head in range(heads):
                axes[1 + head].bar(np.arange(size), weights[row, head], color=plots.GREY)
                axes[1 + head].axhline(1 / size, color="firebrick", linewidth=0.5)
                axes[1 + head].set_ylim(0, top)
                axes[1 + head].set_xticks([])
                axes[1 + head].set_yticks([])
                if row == 0:
                    axes[1 + head].set_title(f"head {head + 1}", fontsize=7)
                if row == rows - 1:
                    axes[1 + head].set_xlabel(f"images 1 to {size}", fontsize=6)
            axes[1].set_yticks([0, 1 / size, top], ["0", f"1/{size}", f"{top:.2g}"])
            axes[1].set_ylabel("weight", fontsize=7)
            for position in range(size):
                show(axes[1 + heads + position], images[row, position])
        grid[0].set_title("sample", fontsize=7)
        for position in range(size):
            grid[1 + heads + position].set_title(f"image {position + 1}", fontsize=7)
    return path

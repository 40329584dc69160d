"""Samples of a set VAE that it reconstructs again and again: every frame, and whether they come closer to their set.

`refinement_<mode>.png`: one row per set, the sample and its refinements from left to right, then the given images.
Modes, see `exflow.models.set_vae.sampling.refine`: `fixed` keeps the latents of the set, `union_posterior` and
`union_prior` infer them in each step from the set and the sample together. `refinement.png`, over the steps: the share
of samples that the model gives to their set among all sets (least divergence between posteriors), and the bound for
the set with the sample less that for the set. Where means are fed back, as in the originals, both are of pixels drawn
from them; --draw_pixels feeds back draws.
"""

import argparse
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from exflow.core.latents.elements import EncodedElement, SeenElements
from exflow.evaluation.metrics import detection
from exflow.evaluation.pictures.grids import save
from exflow.evaluation.scoring.few_shot import count_correct
from exflow.model import Model, sets_of
from exflow.models.set_vae import sampling
from exflow.models.set_vae.classes import kl_scores
from exflow.typing import Params, PRNGKey
from experiments import plots
from experiments.latents import (
    PIXELS,
    latents_of,
    one_set_per_class,
    open_set_vae,
    unit,
    usual_size,
    values_of,
)
from experiments.report import Report, entry
from experiments.set_samples import MODES, add_sampling_arguments, class_ids, conditional, encode, to_pixels
from experiments.subject import Subject, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    add_sampling_arguments(parser, steps=20)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="default: all three")
    parser.add_argument("--sets", type=int, default=20, help="to average over, one sample of each; default: 20")
    parser.add_argument("--rows", type=int, default=5, help="of them, in the picture; default: 5")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """A picture of the frames per mode, and two curves."""
    positive(flags, "steps", "sets", "rows")
    subject = open_set_vae(flags, images=True)
    size = usual_size(subject, flags.set_size)
    rows = one_set_per_class(subject, flags.split, size, flags.sets)
    given = values_of(subject, rows, flags.split)
    latents, params = latents_of(subject), subject.model.params
    elements, mask = encode(subject, given), jnp.ones(given.shape[:2], bool)
    outputs = conditional(subject, flags, subject.key(0), elements, mask, 1)
    start = sampling.values(latents.likelihood, outputs, subject.key(1) if flags.draw_pixels else None)
    entries, series, figures = {}, {"classes": class_ids(subject, flags.split, rows)}, []
    for mode in dict.fromkeys(flags.modes):
        print(f"mode {mode}")
        refined = sampling.refine(
            latents, params, subject.key(2), elements, mask, start, flags.steps, mode, flags.draw_pixels, flags.means
        )
        frames = to_pixels(subject, refined.frames)[:, :, 0]
        shown = {"refined": frames.swapaxes(0, 1)[: flags.rows], "given": to_pixels(subject, given)[: flags.rows]}
        steps = {"refined": ["sample", *(f"step {step}" for step in range(1, flags.steps + 1))]}
        figures.append(save(out / f"refinement_{mode}.png", plots.beside(shown, subject.inverted, steps)))
        found, series[mode] = measures(subject, elements, mask, frames), {}
        for name, values in found.items():
            mean, error = plots.mean_and_error(values.T)
            series[mode][name], series[mode][f"{name}_error"] = mean, error
            for step in (0, flags.steps):
                how = f"after {step} steps, {len(rows)} {flags.split} sets of {size}, {mode}"
                estimate = detection.mean_estimate(values[step])
                entries[f"{name}/{mode}/step_{step}"] = (
                    entry(estimate, "%", f"samples that the model gives to their set; {how}", scale=100)
                    if name == "recognised"
                    else entry(estimate, unit(subject), f"bound for set and sample - bound for set; {how}")
                )
    figures.append(draw(out / "refinement.png", series, flags.modes, unit(subject)))
    return Report(subject.config, subject.facts, entries, series, figures)


def measures(subject: Subject, elements: EncodedElement, mask: Array, frames: np.ndarray) -> dict[str, np.ndarray]:
    """Per step and set: whether the sample is given to its set (1, or shared by ties), and log p(sample | set)."""
    model, params = subject.model.core, subject.model.params
    samples = [_encode(model, params, subject.key(PIXELS), frame) for frame in frames]
    found = {"bound": np.stack([_gain(model, params, elements, mask, sample) for sample in samples])}
    if latents_of(subject).num_set_latents:  # all but a VAE
        scores = np.stack([_scores(model, params, elements, mask, sample) for sample in samples])
        found["recognised"] = count_correct(scores, np.arange(len(mask)))[1]
    return found


@functools.partial(jax.jit, static_argnums=0)
def _encode(model: Model, params: Params, key: PRNGKey, frame: Array) -> EncodedElement:
    return model.encode(params, key, frame)


@functools.partial(jax.jit, static_argnums=0)
def _gain(model: Model, params: Params, elements: EncodedElement, mask: Array, sample: EncodedElement) -> Array:
    return sets_of(model).log_prob(params, SeenElements(elements, mask), sample)


@functools.partial(jax.jit, static_argnums=0)
def _scores(model: Model, params: Params, elements: EncodedElement, mask: Array, sample: EncodedElement) -> Array:
    alone = jax.tree.map(lambda leaf: leaf[:, None], sample)
    sets = SeenElements(elements, mask), SeenElements(alone, jnp.ones((len(mask), 1), bool))
    return kl_scores(*(model.latents.set_posteriors(params, state) for state in sets))


def draw(path: Path, series: dict[str, Any], modes: list[str], text: str) -> Path:
    """Both measures over the steps, a curve per mode."""
    with plots.figure(path, columns=2) as (left, right):
        for mode in modes:
            for axes, name in ((left, "recognised"), (right, "bound")):
                if name in series[mode]:
                    scale = 100 if name == "recognised" else 1
                    mean, error = (scale * series[mode][key] for key in (name, f"{name}_error"))
                    plots.band(axes, np.arange(len(mean)), mean, error, label=mode)
        left.set_title("samples given to their set", fontsize=9)
        right.set_title("bound on log p(sample | set)", fontsize=9)
        for axes in (left, right):
            plots.count_axis(axes, "step")
        left.set_ylim(0, 104)
        left.set_ylabel("samples, %", fontsize=8)
        right.set_ylabel(text, fontsize=8)
    return path

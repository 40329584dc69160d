"""Pictures of a set VAE: one row per set, and beside each other blocks of images.

`reconstruction` of the given images, the given `sets`, further images of the same class (`conditional`), the same after
being fed back to the model --steps times (`refined`), and images of classes that the model invents (`unconditional`).
Any number of images can be drawn (--columns), whatever the size of the sets.
"""

import argparse
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from exflow.core.latents.elements import EncodedElement
from exflow.core.latents.trace import SET
from exflow.evaluation.pictures.grids import save
from exflow.model import LatentFunctions
from exflow.models.set_vae import sampling
from exflow.models.set_vae.sampling import Mode, Outputs, Values
from exflow.typing import Params, PRNGKey
from experiments import plots
from experiments.latents import latents_of, one_set_per_class, open_set_vae, usual_size, values_of
from experiments.report import Report
from experiments.subject import Subject, add_subject_arguments, positive

MODES = Mode.__args__


def add_sampling_arguments(parser: argparse.ArgumentParser, steps: int) -> None:
    """Options of pictures with samples of sets."""
    add_subject_arguments(parser)
    parser.add_argument("--set_size", type=int, default=0, help="images given; default: that of the model's evaluation")
    parser.add_argument("--inferred", choices=("all", "top"), default="all", help="latents of the set; default: all")
    parser.add_argument("--means", action="store_true", help="latents of the set are means, not draws")
    parser.add_argument("--draw_pixels", action="store_true", help="draw from the likelihood; default: its means")
    parser.add_argument("--steps", type=int, default=steps, help=f"of refinement; default: {steps}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    add_sampling_arguments(parser, steps=20)
    parser.add_argument("--rows", type=int, default=10, help="sets; default: 10")
    parser.add_argument("--columns", type=int, default=5, help="images to draw for each; default: 5")
    parser.add_argument("--mode", choices=MODES, default="fixed", help="of refinement; default: fixed")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """One picture."""
    positive(flags, "rows", "columns", "steps")
    subject = open_set_vae(flags, images=True)
    size = usual_size(subject, flags.set_size)
    rows = one_set_per_class(subject, flags.split, size, flags.rows)
    given = values_of(subject, rows, flags.split)
    latents, params, keys = latents_of(subject), subject.model.params, [subject.key(use) for use in range(6)]
    pixel_keys = [key if flags.draw_pixels else None for key in keys[4:]]
    elements, mask = encode(subject, given), jnp.ones(given.shape[:2], bool)
    means = (SET,) if flags.means else ()
    rebuilt = _reconstruct(latents, params, keys[0], elements, mask, means)
    drawn = conditional(subject, flags, keys[1], elements, mask, flags.columns)
    start = sampling.values(latents.likelihood, drawn, pixel_keys[0])
    refined = sampling.refine(
        latents, params, keys[2], elements, mask, start, flags.steps, flags.mode, flags.draw_pixels, flags.means
    )
    free = _sample_prior(latents, params, keys[3], (len(rows), flags.columns), flags.means)
    blocks = {
        "reconstruction": sampling.values(latents.likelihood, rebuilt, pixel_keys[0]),
        "sets": given,
        "conditional": start,
        "refined": refined.frames[-1],
        "unconditional": sampling.values(latents.likelihood, free, pixel_keys[1]),
    }
    pixels = {name: to_pixels(subject, block) for name, block in blocks.items()}
    path = save(out / "set_samples.png", plots.beside(pixels, subject.inverted))
    return Report(subject.config, subject.facts, {}, {"classes": class_ids(subject, flags.split, rows)}, [path])


def encode(subject: Subject, values: np.ndarray) -> EncodedElement:
    """Elements of values, on one device."""
    return _encode(latents_of(subject), subject.model.params, values)


def conditional(
    subject: Subject, flags: argparse.Namespace, key: PRNGKey, elements: EncodedElement, mask: Array, number: int
) -> Outputs:
    """Further elements of sets, as the options say."""
    how = (flags.inferred, flags.means, flags.means)
    return _sample_conditional(latents_of(subject), subject.model.params, key, elements, mask, number, *how)


def to_pixels(subject: Subject, values: Values | np.ndarray) -> np.ndarray:
    """Values as uint8 images."""
    return np.asarray(latents_of(subject).likelihood.to_pixels(jnp.asarray(values)))


def class_ids(subject: Subject, split: str, rows: np.ndarray) -> np.ndarray:
    """The labels of the classes of sets."""
    image_sets = subject.image_sets[split]
    return np.asarray(image_sets.class_ids)[rows[:, 0] // image_sets.index.shape[1]]


@functools.partial(jax.jit, static_argnums=0)
def _encode(latents: LatentFunctions, params: Params, values: Array) -> EncodedElement:
    return latents.encode_values(params, values)


_reconstruct = jax.jit(sampling.reconstruct, static_argnums=(0, 5))
_sample_conditional = jax.jit(sampling.sample_conditional, static_argnums=(0, 5, 6, 7, 8))
_sample_prior = jax.jit(sampling.sample_prior, static_argnums=(0, 3, 4))

"""What experiments on the latents of set VAEs share: the model, and sets of what its likelihood scores."""

import argparse
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from exflow import model
from exflow.core.likelihoods.likelihood import Likelihood
from exflow.errors import UserError
from exflow.evaluation.chunks import in_chunks
from exflow.evaluation.scoring import likelihood
from exflow.evaluation.scoring.importance import SetBounds, importance
from exflow.evaluation.scoring.latents import SetTerms, elbo_terms, of_sets
from exflow.evaluation.spread import evenly_spread
from exflow.model import LatentFunctions
from exflow.typing import PRNGKey
from experiments.subject import Subject, open_subject

PIXELS, LATENTS = 100, 200  # uses of random keys
BATCH_SIZE = 1024  # images


def open_set_vae(flags: argparse.Namespace, set_latents: bool = False, images: bool = False) -> Subject:
    """Load a set VAE and its data.

    Args:
      flags: Command line.
      set_latents: Whether the experiment needs latents of the set.
      images: Whether it needs elements that are pictures.

    Raises:
      UserError: Another model, or what `open_subject` raises.
    """
    subject = open_subject(flags)
    latents_of(subject)
    if set_latents and not latents_of(subject).num_set_latents:
        raise UserError("--model: a VAE has no latent of the set. Choose one of set_latent_levels=top or all.")
    if images and subject.model.core.of_vectors:
        raise UserError("--model: its elements are vectors, and this experiment draws pictures. Choose one of images.")
    return subject


def latents_of(subject: Subject) -> LatentFunctions:
    """The functions on latents.

    Raises:
      UserError: The model has none.
    """
    return model.latents_of(subject.model.core)


def bounds_of(subject: Subject, values: Float[np.ndarray, "sets set h w c"], samples: int, **options: Any) -> SetBounds:
    """Importance-weighted bounds on log p(X) of sets; options as of `exflow.evaluation.scoring.importance`."""
    model = subject.model
    return importance(model.core, model.params, values, subject.key(LATENTS), samples, **options)


def terms_of(subject: Subject, values: Float[np.ndarray, "sets set h w c"], draws: int = 1) -> SetTerms:
    """Terms of the evidence lower bound of sets, means over draws of the latents."""
    keys = [subject.key(LATENTS + draw) for draw in range(draws)]
    return elbo_terms(subject.model.core, subject.model.params, values, keys)


def through(function: Callable[..., Any], subject: Subject, values: Float[np.ndarray, "sets set h w c"]) -> Any:
    """function(latents, params, element_set, mask) of sets, see `exflow.evaluation.scoring.latents.of_sets`."""
    return of_sets(function, subject.model.core, subject.model.params, values)


def unit(subject: Subject) -> str:
    """Of densities per element."""
    return f"nats/{likelihood.noun(subject.model.core)}"


def usual_size(subject: Subject, given: int) -> int:
    """Size of sets: as given, or if that is 0 the one of the model's evaluation."""
    return given or int(subject.config.evaluation.nll_set_size) or int(subject.config.data.set_size)


def draw_sets(subject: Subject, split: str, size: int, number: int, use: int = 0) -> Int[np.ndarray, "sets set"]:
    """Disjoint sets of images of one class each, as rows of the flattened [class, image] index.

    Args:
      subject: Model and data.
      split: Which images.
      size: Images of a set.
      number: Sets, drawn at random; 0 for all that the split gives.
      use: Of the random generator.

    Raises:
      UserError: No class has so many images.
    """
    image_sets = subject.image_sets[split]
    sets = likelihood.draw_sets(np.asarray(image_sets.count), 1, image_sets.index.shape[1], size, subject.seed)
    rows = sets.rows[sets.mask.all(axis=1)]
    if len(rows) == 0:
        raise UserError(f"set size: no {split} class has {size} images. Use at most {image_sets.count.max()}.")
    return rows[np.sort(subject.rng(use).permutation(len(rows))[: number or len(rows)])]


def one_set_per_class(subject: Subject, split: str, size: int, number: int) -> Int[np.ndarray, "sets set"]:
    """The first images of classes spread evenly over the split, as rows; for pictures.

    Raises:
      UserError: No class has so many images.
    """
    image_sets = subject.image_sets[split]
    usable = np.flatnonzero(np.asarray(image_sets.count) >= size)
    if len(usable) == 0:
        raise UserError(f"--set_size: no {split} class has {size} images. Use at most {image_sets.count.max()}.")
    classes = evenly_spread(usable, number)
    return classes[:, np.newaxis] * image_sets.index.shape[1] + np.arange(size)


def values_of(subject: Subject, rows: Int[np.ndarray, "*rows"], split: str) -> Float[np.ndarray, "*rows h w c"]:
    """What the likelihood scores; the noise of an image, such as its binarisation, depends on its row alone."""
    flat = rows.reshape(-1)
    run = functools.partial(_values, latents_of(subject).likelihood, subject.key(PIXELS))
    values = in_chunks(run, (flat.astype(np.uint32), subject.images(flat, split)), BATCH_SIZE)
    return values.reshape(*rows.shape, *values.shape[1:])


@functools.partial(jax.jit, static_argnums=0)
def _values(law: Likelihood, key: PRNGKey, seeds: UInt32[Array, " num"], images: Array) -> Array:
    return jax.vmap(lambda seed, x: law.to_values(jax.random.fold_in(key, seed), x))(seeds, images)


def regrouped(values: np.ndarray, size: int) -> np.ndarray:
    """Sets [sets, set, ...] cut into sets of another size, [sets * (set // size), size, ...]; a rest is left out."""
    number = values.shape[1] // size
    return values[:, : number * size].reshape(-1, size, *values.shape[2:])

"""Images that a model makes, by what it is capable of, each beside a real image that it is compared with.

Reference images are drawn from a split without replacement. Samples given a set get, for every reference image, other
images of its class, so that classes are as frequent among them as among the reference images.
"""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int, UInt8

from exflow.data.registry import ImageSets
from exflow.evaluation import cached, code_passes, compiled, encoding, placement
from exflow.evaluation.chunks import in_chunks
from exflow.evaluation.encoding import Transform
from exflow.evaluation.evaluator import Task, plural
from exflow.model import Model, sets_of
from exflow.typing import Element, Params, PRNGKey

DRAWS = 0x71756172  # separates these draws from those of other evaluators
Pictures = UInt8[np.ndarray, "images height width channels"]


class Reference(NamedTuple):
    """Real images."""

    images: Pictures  # as the model sees them
    label: Int[np.ndarray, " images"]  # row of their class in the split
    place: Int[np.ndarray, " images"]  # place in that row


class ImageSource(NamedTuple):
    """One way in which a model makes images."""

    name: str  # "prior", "given_5", "sampler_<method>", "reconstruction"
    what: str  # for protocols
    draw: Callable[[], Pictures]  # as many as reference images
    of_class: bool = False  # whether each is of the class of its reference image
    reconstructs: bool = False  # whether each is meant to be its reference image


def draw_reference(image_sets: ImageSets, number: int, seed: int, transform: Transform | None = None) -> Reference:
    """So many images of a split, or all if it has fewer, in the order of the split."""
    places = np.flatnonzero(image_sets.exists)
    if number < len(places):
        places = np.sort(np.random.default_rng((seed, DRAWS)).choice(places, number, replace=False))
    label, place = np.divmod(places, image_sets.index.shape[1])
    images = np.asarray(image_sets.images)[np.asarray(image_sets.index)[label, place]]
    return Reference(images if transform is None else np.asarray(transform(images)), label, place)


def others_of_class(reference: Reference, count: Int[np.ndarray, " classes"], k: int, seed: int) -> np.ndarray:
    """Places [images, k] of k other images of the class of each reference image, whose classes have as many."""
    rng, found = np.random.default_rng((seed, DRAWS, k)), np.empty((len(reference.label), k), np.int64)
    for row, (label, place) in enumerate(zip(reference.label, reference.place, strict=True)):
        chosen = rng.choice(count[label] - 1, k, replace=False)
        found[row] = chosen + (chosen >= place)
    return found


def sources(
    task: Task, reference: Reference, given: tuple[int, ...], methods: tuple[str, ...] = ()
) -> Iterator[ImageSource]:
    """What the model of a task can make, in the order of tables.

    Args:
      task: A model with a split.
      reference: Images of that split.
      given: Sizes of the sets that samples are given.
      methods: Of a sampler that is fitted after training; (): its first.
    """
    model, number = task.model, len(reference.images)
    params, key = placement.replicate(model.folded(task.params)), jax.random.fold_in(task.key, DRAWS)
    numbers = np.arange(number, dtype=np.uint32)

    def chunked(run: Callable[..., Array], *inputs: np.ndarray) -> Pictures:
        return np.asarray(in_chunks(run, (*inputs, numbers), task.config.evaluation.batch_size))

    if model.sets is not None:
        yield ImageSource(
            "prior", "samples given nothing", lambda: chunked(functools.partial(_from_prior, model, params, key))
        )
    alike = model.latents is not None and model.latents.num_set_latents == 0  # images are independent given anything
    for k in given if model.sets is not None and task.image_sets.labelled and not alike else ():
        if task.count[reference.label].min() <= k:
            task.say(f"samples given {k}: skipped, a class of {task.split} has no {k} images besides the reference")
            continue
        yield ImageSource(f"given_{k}", f"samples given {plural(k, 'other image')} of the class",
                     functools.partial(_given, task, reference, k, params, key, chunked), of_class=True)  # fmt: skip
    sampler = model.sampler
    if sampler is not None and task.fitted is None:
        task.say("samples of the fitted sampler: skipped, nothing was fitted")
    for method in methods or sampler.methods[:1] if sampler is not None and task.fitted is not None else ():
        yield ImageSource(
            f"sampler_{method}",
            f"samples of method {method}, fitted after training",
            functools.partial(_from_sampler, task, params, key, number, method),
        )
    if model.codes is not None:
        size = task.config.evaluation.batch_size
        yield ImageSource(
            "reconstruction",
            "images decoded from their codes",
            lambda: code_passes.reconstructions(model, task.params, reference.images, size)[0],
            reconstructs=True,
        )
    elif model.latents is not None:
        yield ImageSource("reconstruction", "means given the posterior means of the latents of each image on its own",
                     functools.partial(_reconstructed, task, reference, params), reconstructs=True)  # fmt: skip


def _key_of(key: PRNGKey, numbers: Array) -> PRNGKey:
    """Key of the images with these numbers, of which a device makes some at a time."""
    return jax.random.fold_in(key, numbers[0])


@functools.partial(jax.jit, static_argnums=0)
def _from_prior(model: Model, params: Params, key: PRNGKey, numbers: Array) -> Array:
    def local(params: Params, key: PRNGKey, numbers: Array) -> Array:
        states = cached.empty_states(model, params, numbers.shape)
        return sets_of(model).sample(params, states, _key_of(key, numbers), 1)[0]

    return placement.data_parallel(local, 2, 1)(params, key, numbers)


def _given(
    task: Task, reference: Reference, k: int, params: Params, key: PRNGKey, chunked: Callable[..., Pictures]
) -> Pictures:
    places = others_of_class(reference, task.count, k, task.config.training.seed)
    rows = reference.label[:, None] * task.image_sets.index.shape[1] + places
    upright = jax.tree.map(lambda leaf: np.asarray(leaf)[:, 0].reshape(-1, *leaf.shape[3:]), task.encodings(0))
    draw_key = jax.random.fold_in(key, k)
    return chunked(
        functools.partial(_given_sets, task.model, params, placement.replicate(upright), draw_key),
        rows.astype(np.int32),
    )


@functools.partial(jax.jit, static_argnums=0)
def _given_sets(model: Model, params: Params, elements: Element, key: PRNGKey, rows: Array, numbers: Array) -> Array:
    def local(params: Params, elements: Element, key: PRNGKey, rows: Array, numbers: Array) -> Array:
        empty = cached.empty_states(model, params, numbers.shape)
        states = sets_of(model).update(params, empty, cached.gather(elements, rows))
        return sets_of(model).sample(params, states, _key_of(key, numbers), 1)[0]

    return placement.data_parallel(local, 3, 2)(params, elements, key, rows, numbers)


def _from_sampler(task: Task, params: Params, key: PRNGKey, number: int, method: str) -> Pictures:
    assert task.fitted is not None
    return np.asarray(code_passes.sample_fitted(task.model, params, task.fitted.by(method), key, number, method))


def _reconstructed(task: Task, reference: Reference, params: Params) -> Pictures:
    size = task.config.evaluation.batch_size
    elements = encoding.encode_images(task.model, params, None, reference.images, size)

    def run(elements: Element) -> Array:
        sets = jax.tree.map(lambda leaf: leaf[:, None], elements)
        mask = np.ones((len(jax.tree.leaves(elements)[0]), 1), bool)
        return compiled.reconstruct(task.model, params, sets, mask)[:, 0]

    return np.asarray(in_chunks(run, (elements,), size))

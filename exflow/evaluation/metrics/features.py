"""Extractors of the features that metrics compare, by name: one interface, three kinds.

    find("28x28")                                   the small classifier of grey images that comes with exflow
    find("folder/classify_image_graph_def.pb")      Inception of 2015-12-05, from a file of the user
    find("my_module:my_function")                   uint8 images [n, height, width, channels] -> features [n, dim]

Numbers of different extractors cannot be compared, so every number carries the extractor's name.
"""

import functools
import importlib

import numpy as np
from jaxtyping import UInt8

from exflow.data.resize import resize
from exflow.errors import UserError
from exflow.evaluation.metrics.extractor import BATCH_SIZE, Extractor

SMALL = "28x28"


def find(name: str) -> Extractor:
    """The extractor of a name, see the top of this file.

    Raises:
      UserError: There is none, or its file or module cannot be had.
    """
    if name == SMALL:
        return small_classifier()
    if name.endswith(".pb") or name == "inception":
        from exflow.evaluation.metrics.inception import inception  # needs TensorFlow

        return inception(name)
    if ":" in name:
        return of_function(name)
    raise UserError(
        f"extractor: expected {SMALL}, the path of classify_image_graph_def.pb, or module:function, got {name!r}."
    )


@functools.cache
def small_classifier() -> Extractor:
    """The classifier that comes with exflow, see `classifier.py`; named by the digest of its file.

    Raises:
      UserError: Its file cannot be read.
    """
    from exflow.evaluation.metrics import classifier  # needs Flax

    params = classifier.load()

    def extract(images: UInt8[np.ndarray, "..."]) -> np.ndarray:
        side = classifier.IMAGE_SHAPE[0]
        if images.shape[-1] != 1:
            raise UserError(
                f"extractor: {SMALL} takes grey images, got {images.shape[-1]} channels. Take Inception or your own."
            )
        if images.shape[1:] != classifier.IMAGE_SHAPE:
            images = resize(images, side, "bilinear")
        padded = np.zeros((BATCH_SIZE, *classifier.IMAGE_SHAPE), np.uint8)  # one shape, compiled once
        parts = []
        for start in range(0, len(images), BATCH_SIZE):
            some = images[start : start + BATCH_SIZE]
            padded[: len(some)] = some
            parts.append(np.asarray(classifier.features_and_logits(params, padded)[0])[: len(some)])
        return np.concatenate(parts)

    return Extractor(f"{SMALL}-{classifier.digest()[:8]}", extract, "to 28x28, bilinear, where images differ")


def of_function(name: str) -> Extractor:
    """A function "module:function" of the user.

    Raises:
      UserError: The module cannot be imported or has no such function.
    """
    module, _, function = name.partition(":")
    try:
        found = vars(importlib.import_module(module)).get(function)
    except ImportError as error:
        raise UserError(
            f"extractor: {module!r} cannot be imported ({error}). Install it, or add its folder to PYTHONPATH."
        ) from error
    if not callable(found):
        raise UserError(f"extractor: {module!r} has no function {function!r}. Correct the name.")
    return Extractor(name, found, "by the function, if at all")

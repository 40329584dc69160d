"""What an evaluator is, and what it is given: a trained model, a split of a data set, and elements encoded once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from exflow.data.registry import ImageSets
from exflow.evaluation.encoding import Encodings, Transform, check_images
from exflow.model import FittedCodes, Model
from exflow.typing import Params, PRNGKey

Entries = dict[str, dict[str, Any]]  # of `results.json`, by name, each from `results.result`
Say = Callable[[str], None]  # takes a line for the user


class Task(NamedTuple):
    """A model to evaluate on a split of a data set."""

    config: ConfigDict
    model: Model
    params: Params  # on all local devices
    image_sets: ImageSets
    split: str  # train, validation or test
    transform: Transform | None  # of images [n, H, W, C] to those that the model sees
    key: PRNGKey  # of all that is drawn
    encodings: Encodings  # of a noise draw, shared by all evaluators
    values: Encodings  # likewise, of models with latents: what the likelihood scores of elements, no features
    say: Say
    fitted: FittedCodes | None = None  # what the model's `sampler` is fitted to after training
    train: ImageSets | None = None  # the training split, where another one is evaluated

    @property
    def count(self) -> np.ndarray:
        """Images of each class."""
        return np.asarray(self.image_sets.count)

    def images(self, number: int | None = None) -> np.ndarray:
        """The first images of the split, or all of them, class by class, as the model sees them.

        Raises:
          ValueError: They do not fit the model.
        """
        rows = np.asarray(self.image_sets.index)[self.image_sets.exists][:number]
        images = np.asarray(self.image_sets.images)[rows]
        images = images if self.transform is None else np.asarray(self.transform(images))
        check_images(self.model, images)
        return images

    @property
    def prefix(self) -> str:
        """Of entries that carry no name of a split where it is the test split."""
        return "" if self.split == "test" else f"{self.split}_"


def always(config: ConfigDict) -> bool:
    """For evaluators that run by default whatever the configuration."""
    del config
    return True


class Evaluator(NamedTuple):
    """One kind of result, of every model with what it requires."""

    name: str
    needs: str  # what it requires, in words that complete "needs ..."
    requires: Callable[[Model], bool]
    # Names of the numbers of `validate`, and whether the best is the smallest ("min") or the largest ("max")
    metrics: Callable[[ConfigDict, Model], dict[str, str]]
    validate: Callable[[Task], dict[str, float]]  # quick numbers during training
    evaluate: Callable[[Task], Entries]  # after training
    draw: Callable[[Task, Path], list[Path]] | None = None  # writes pictures into a working directory
    by_default: Callable[[ConfigDict], bool] = always


def plural(number: int, noun: str) -> str:
    """Such as "1 draw" and "2 draws", for protocols."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

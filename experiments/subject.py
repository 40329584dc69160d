"""The trained model that an experiment examines, with the data set it was trained on or another one."""

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

import exflow
from exflow.api import TrainedModel
from exflow.data.registry import ImageSets
from exflow.errors import UserError
from exflow.evaluation import encoding
from exflow.evaluation.pictures.grids import looks_inverted
from exflow.loading import CHECKPOINTS
from exflow.models.registry import num_parameters
from exflow.training.inputs import load_data
from exflow.typing import Element, PRNGKey

SPLITS = ("train", "validation", "test")
BATCH_SIZE = 256  # images per encoding call
STREAM = 0x65787065  # separates the noise and draws of experiments from those of training and evaluation


class Subject(NamedTuple):
    """A model, its configuration with the data set in use, and that data set."""

    model: TrainedModel
    config: ConfigDict
    image_sets: dict[str, ImageSets]
    seed: int

    @property
    def facts(self) -> dict[str, Any]:
        """What identifies the model in a report."""
        number = num_parameters(self.model.params)
        return {"model": self.model.name, **self.model.info, "num_parameters": number, "seed": self.seed}

    @property
    def transform(self) -> Callable[[np.ndarray], Any] | None:
        """From the images of the data set to those that the model sees."""
        return encoding.downscaling(self.config.data.downscale)

    @property
    def inverted(self) -> bool:
        """Whether pictures show 255 - pixel, the same in all of them."""
        return looks_inverted(np.asarray(self.image_sets["test"].images))

    def key(self, use: int) -> PRNGKey:
        """Random key of one of several uses."""
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(self.seed), STREAM), use)

    def rng(self, use: int) -> np.random.Generator:
        """Random generator of one of several uses."""
        return np.random.default_rng((self.seed, STREAM, use))

    def images(self, rows: Any, split: str) -> UInt8[np.ndarray, "*rows height width channels"]:
        """Images of a split as the model sees them, by rows of its [class, image] index, flattened."""
        image_sets = self.image_sets[split]
        images = np.asarray(image_sets.images)[np.asarray(image_sets.index).reshape(-1)[rows]]
        flat = images.reshape(-1, *images.shape[-3:])
        flat = flat if self.transform is None else np.asarray(self.transform(flat))
        return flat.reshape(*images.shape[:-3], *flat.shape[1:])

    def encode(self, x: UInt8[np.ndarray, "*images height width channels"], use: int) -> Element:
        """Elements of images as the model sees them; every image gets its own dequantization noise."""
        return self.model.encode(x, self.key(use))

    def encode_split(self, split: str, use: int = 0) -> Element:
        """Elements [class, 1, image] of all images of a split, upright."""
        model, sets, title = self.model, self.image_sets[split], f"encoding {split} images"
        return encoding.encode_split(
            model.core, model.params, self.key(use), sets, (0,), BATCH_SIZE, self.transform, title
        )


def add_subject_arguments(parser: argparse.ArgumentParser, split: str | None = "test") -> None:
    """Options of every experiment on a model; with `split`, also which split it looks at."""
    parser.add_argument("--dataset", metavar="NAME", help="another data set than the model's; names: exflow.data")
    parser.add_argument("--dataset_options", default="", help='of --dataset, such as "digits=3, per_class=100"')
    parser.add_argument("--checkpoint", choices=CHECKPOINTS, default="best", help="default: best on validation")
    parser.add_argument("--seed", type=int, help="of noise and draws; default: that of training")
    if split is not None:
        parser.add_argument("--split", choices=SPLITS, default=split, help=f"default: {split}")


class CommaSeparated(argparse.Action):
    """Words that are separated by spaces or commas, each one of `choices`."""

    def __init__(self, option_strings: list[str], dest: str, words: tuple[str, ...], **options: Any):
        super().__init__(option_strings, dest, nargs="+", **options)
        self._words = words

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any) -> None:
        """Store the words as a list."""
        found = [word for value in values for word in value.split(",") if word]
        for word in found:
            if word not in self._words:
                parser.error(f"argument --{self.dest}: expected some of {', '.join(self._words)}, got {word!r}")
        setattr(namespace, self.dest, found)


def add_splits_argument(parser: argparse.ArgumentParser, *default: str) -> None:
    """Which splits an experiment looks at."""
    parser.add_argument(
        "--splits",
        action=CommaSeparated,
        words=SPLITS,
        default=list(default),
        metavar="SPLIT",
        help=f"some of {', '.join(SPLITS)}; default: {' '.join(default)}",
    )


def open_subject(flags: argparse.Namespace, contexts: bool = True) -> Subject:
    """Load the model and the data that the flags name.

    Args:
      flags: Command line.
      contexts: Whether the experiment serves models that are given a context with every image.

    Raises:
      UserError: Several models, one that cannot be had or is not served, or data that do not fit it.
    """
    if len(flags.model) != 1:
        raise UserError(f"--model: expected one, got {len(flags.model)}. Run the command once for each.")
    model = exflow.load(flags.model[0], flags.checkpoint)
    assert model.config is not None
    if model.core.context_dim and not contexts:
        raise UserError("--model: is conditional, and this experiment has no contexts to give. Use --mode=sample.")
    config = ConfigDict(model.config.to_dict())
    if flags.dataset is not None:
        config.data.dataset, config.data.options, config.data.split = flags.dataset, flags.dataset_options, "standard"
    elif flags.dataset_options:
        raise UserError("--dataset_options: says nothing without --dataset. Name the data set as well.")
    if flags.seed is not None:
        config.training.seed = flags.seed
    data, image_sets = config.data, load_data(config)
    height, width, channels = image_sets["test"].images.shape[1:]
    seen = (height // data.downscale, width // data.downscale, channels)
    if seen != model.image_shape:
        shape, wanted = ("x".join(map(str, sizes)) for sizes in (seen, model.image_shape))
        raise UserError(f"--dataset: {data.dataset} has images of {shape}, the model wants {wanted}. Choose another.")
    return Subject(model, config, image_sets, int(config.training.seed))


def positive(flags: argparse.Namespace, *names: str) -> None:
    """Check that flags are at least 1.

    Raises:
      UserError: One is not.
    """
    for name in names:
        values = getattr(flags, name)
        for value in values if isinstance(values, list) else [values]:
            if value < 1:
                raise UserError(f"--{name}: expected at least 1, got {value}.")

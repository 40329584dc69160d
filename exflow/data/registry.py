"""What a data set is, and the table of data sets.

Adding one takes a decorated function:

    import numpy as np
    from exflow.data.registry import TEST, TRAIN, VALIDATION, LabelledImages, register

    @register("stripes")
    def stripes(image_size: int = 28) -> LabelledImages:
        '''30 classes of 20 striped images each, separated by class.'''
        rng = np.random.default_rng(0)
        labels = np.repeat(np.arange(30), 20)
        column = np.arange(image_size)
        wave = np.sin(column * (labels[:, None] + 1) / 10 + rng.normal(0, 0.3, (600, 1)))
        images = np.broadcast_to((127 * (wave + 1))[:, None, :, None], (600, image_size, image_size, 1))
        split = np.select([labels < 20, labels < 25], [TRAIN, VALIDATION], TEST)
        return LabelledImages(images.astype(np.uint8), labels.astype(np.int32), split.astype(np.uint8))

Name the module or file that holds it in `config.imports` (`imports=("stripes.py",)`, or `--imports=stripes.py` of
`exflow.data.prepare`), and `data.dataset = "stripes"`, `exflow.data.datasets.load("stripes")` and the pipelines work. A
data set that comes with the package is a file in `exflow/data/sources`, where it is found. The keyword arguments of the
function are the options of the data set. Its result is cached in one file per combination of options and per source of
the builder; `@register(name, cache=False)` builds it anew each time instead.

Images larger than memory: a builder with `cache=False` returns `np.load("images.npy", mmap_mode="r")`, train images
first, then those of validation, then of test. The pipeline `tfdata` reads from the file what a batch holds, and nothing
else; labels and index, a few bytes per image, are in memory. An evaluation reads the split that it is of.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from exflow.data.fingerprint import source_of

# Pixels 0..255; or vectors, which travel as float32 pictures of one pixel so that one pipeline serves both.
Images = UInt8[np.ndarray, "num_images height width channels"] | Float32[np.ndarray, "num_images 1 1 dim"]
Attributes = UInt8[np.ndarray, "num_images num_attributes"] | Float32[np.ndarray, "num_images num_attributes"]

SPLITS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)


class LabelledImages(NamedTuple):
    """What a builder returns and what the cache stores: every image with its class and its split."""

    images: Images
    labels: Int32[np.ndarray, " num_images"]  # class of an image, at least 0
    split: UInt8[np.ndarray, " num_images"]  # 0 train, 1 validation, 2 test
    context: Float32[np.ndarray, "num_images context"] | None = None  # known of each image: its angle as (sin, cos)
    attributes: Attributes | None = None  # facts of each image that no model is trained on ...
    attribute_names: tuple[str, ...] = ()  # ... and what they are called, such as "Smiling"


class ImageSets(NamedTuple):
    """One split of a data set, grouped by class."""

    images: Images
    index: Int32[np.ndarray, "num_classes max_count"]  # rows of `images`; padded with the first image of the class
    count: Int32[np.ndarray, " num_classes"]  # how many entries of a row of `index` are real
    class_ids: Int32[np.ndarray, " num_classes"]  # the label that the data set gives to the class
    name: str = "images"  # for messages, such as "omniglot/train"
    context: Float32[np.ndarray, "num_images context"] | None = None  # what is known of each image, if anything
    attributes: Attributes | None = None  # facts of each image, if any ...
    attribute_names: tuple[str, ...] = ()  # ... and what they are called
    labelled: bool = True  # whether the classes mean anything; without labels all images are of class 0

    @property
    def exists(self) -> Bool[np.ndarray, "num_classes max_count"]:
        """Which entries of `index` are real."""
        return np.arange(self.index.shape[1])[None] < np.asarray(self.count)[:, None]

    @property
    def labels(self) -> Int32[np.ndarray, " num_images"]:
        """The label of every image."""
        labels = np.empty(len(self.images), np.int32)
        labels[np.asarray(self.index)[self.exists]] = np.repeat(np.asarray(self.class_ids), np.asarray(self.count))
        return labels


class DataSet(NamedTuple):
    """An entry of the table of data sets."""

    build: Callable[..., LabelledImages]  # (**options) -> all images
    split: str  # name of its way to divide the classes or images
    cache: bool  # whether the result is stored in a file
    source: str  # digest of the text behind `build` when it was registered
    ink: str = ""  # of drawings, whose arrays hold bright ink on black: "dark" or "bright" in what they were made of
    labelled: bool = True  # whether the classes mean anything


REGISTRY: dict[str, DataSet] = {}
SOURCES = "exflow.data.sources"  # the package whose modules register the data sets that come with exflow


def register(
    name: str, *, split: str = "standard", cache: bool = True, ink: str = "", labelled: bool = True
) -> Callable:
    """Decorator that adds a builder `(**options) -> LabelledImages` to the table of data sets under `name`.

    Args:
      name: Value of `config.data.dataset`.
      split: Name of its way to divide the classes or images.
      cache: Whether the result is stored in a file.
      ink: For drawings, so that a model of them reads drawings of either polarity: "dark" or "bright", see `DataSet`.
      labelled: Whether images have labels; without, all are of class 0, and sets of one class are refused.

    Raises:
      ValueError: Another word for the ink.
    """
    if ink not in ("", "dark", "bright"):
        raise ValueError(
            f"ink: expected 'dark' or 'bright' for drawings, got {ink!r}. Leave it out for other pictures."
        )

    def add(build: Callable) -> Callable:
        REGISTRY[name] = DataSet(build, split, cache, source_of(build), ink, labelled)
        return build

    return add


def known_data_sets() -> dict[str, DataSet]:
    """The table of data sets, those of the package included: their modules are imported at the first call.

    A data set of the user that has the name of one of the package takes its place.
    """
    own = dict(REGISTRY)
    for module in pkgutil.iter_modules(importlib.import_module(SOURCES).__path__, f"{SOURCES}."):
        importlib.import_module(module.name)
    REGISTRY.update(own)
    return REGISTRY


def group_by_class(
    images: Images,
    labels: Int32[np.ndarray, " num_images"],
    name: str = "images",
    context: Float32[np.ndarray, "num_images context"] | None = None,
    attributes: Attributes | None = None,
    attribute_names: tuple[str, ...] = (),
) -> ImageSets:
    """Group images by label; the order inside a class is kept, and each image keeps its context and attributes."""
    class_ids, class_index, count = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(class_index, kind="stable").astype(np.int32)
    position = np.arange(count.max(initial=0))
    valid = position < count[:, None]
    start = np.cumsum(count) - count
    index = order[np.where(valid, start[:, None] + position, start[:, None])]
    grouped = index, count.astype(np.int32), class_ids.astype(np.int32)
    return ImageSets(images, *grouped, name, context, attributes, attribute_names)

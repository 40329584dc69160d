"""Reading data sets of `tensorflow_datasets` (TFDS), which is imported only when needed."""

import contextlib
import importlib
import logging
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from tqdm import tqdm

from exflow.data import prepared
from exflow.data.building.options import check_at_least
from exflow.data.pipelines.tfdata import import_tensorflow
from exflow.data.registry import TEST, TRAIN, VALIDATION, LabelledImages
from exflow.data.resize import check as check_resize
from exflow.data.resize import resize as resize_images
from exflow.errors import UserError

NUM_VALIDATION = 5000  # images held out of the training images by default where TFDS has no validation split
TIMEOUT_SECONDS = 5.0
BATCH_SIZE = 500  # images read at a time


def _unavailable(name: str, reason: str) -> UserError:
    searched = " or ".join(str(path) for path in prepared.cache_dirs())
    reason = " ".join(reason.split())[:200]
    return UserError(
        f"{name}: no prepared file in {searched}, no TFDS data set in {prepared.tfds_dir()}, no download ({reason}). "
        f"Run `python -m exflow.data.prepare {name}` where there is internet and copy the file, or "
        "set TFDS_DATA_DIR to a folder that holds the data; configs/bruno_glyphs.py runs without it."
    )


@contextlib.contextmanager
def _quiet_absl() -> Iterator[None]:
    """Only errors from the logger of TFDS, which warns about folders that our own message explains."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check_reachable(url: str) -> None:
    """Raise OSError quickly where there is no connection: TFDS itself would try again and again."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT_SECONDS):
            pass
    except urllib.error.HTTPError:
        pass  # an answer, if not the page


def open_builder(name: str, version: str, url: str, registered: str | None = None) -> Any:
    """The TFDS builder of a data set, downloaded if it has to be and can be.

    Args:
      name: As TFDS calls it.
      version: Of the data set.
      url: On the site from which TFDS downloads.
      registered: Our name of the data set, where it is another.

    Raises:
      UserError: If the data set is neither on this machine nor can be downloaded.
    """
    folder = prepared.tfds_dir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import_tensorflow()
            tfds = importlib.import_module("tensorflow_datasets")
        except (ImportError, UserError) as error:
            raise _unavailable(registered or name, "tensorflow-datasets is not installed here") from error
        try:
            with _quiet_absl():
                builder = tfds.builder(f"{name}:{version}", data_dir=str(folder))
                ready = builder.is_prepared()
            if not ready:
                _check_reachable(url)
                builder.download_and_prepare()
        except Exception as error:  # TFDS raises many kinds; each means that the data cannot be had
            raise _unavailable(registered or name, str(error) or type(error).__name__) from error
    return builder


def undecoded(builder: Any, splits: str) -> Any:
    """The `tf.data.Dataset` of TFDS splits in their order, pictures as the bytes of their files."""
    skip = importlib.import_module("tensorflow_datasets").decode.SkipDecoding()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return builder.as_dataset(split=splits, decoders={"image": skip}, shuffle_files=False)


def read_images(
    builder: Any, splits: str, channels: int, label_of: Callable[[Any], Any] = lambda example: example["label"]
) -> tuple[UInt8[np.ndarray, "num_images height width channels"], Int[np.ndarray, " num_images"]]:
    """All images of TFDS splits and what `label_of` takes from their examples, in the order of TFDS."""
    tf = import_tensorflow()

    def decode(example: Any) -> Any:
        return tf.io.decode_png(example["image"], channels), label_of(example)

    total = sum(builder.info.splits[part].num_examples for part in splits.split("+"))
    images, labels = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = undecoded(builder, splits)
        data = data.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).batch(BATCH_SIZE).prefetch(2)
        with tqdm(total=total, desc=f"reading {builder.name}", unit=" images", disable=None) as bar:
            for image, label in data.as_numpy_iterator():
                images.append(image)
                labels.append(label)
                bar.update(len(label))
    return np.concatenate(images), np.concatenate(labels)


def read_with_validation(
    name: str, url: str, channels: int, image_size: int, resize: str, num_validation: int
) -> LabelledImages:
    """A data set with TFDS splits train and test; the last `num_validation` training images are the validation split.

    Raises:
      UserError: The data cannot be had, or an option is not valid.
    """
    check_resize(image_size, resize)
    check_at_least(name, 1, num_validation=num_validation)
    builder = open_builder(name, "3.*.*", url)
    parts = [read_images(builder, part, channels) for part in ("train", "test")]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    num_train, num_test = (len(part[1]) for part in parts)
    if num_validation >= num_train:
        raise UserError(f"{name}: expected num_validation < {num_train}, its training images, got {num_validation}.")
    split = np.repeat(
        np.array([TRAIN, VALIDATION, TEST], np.uint8), [num_train - num_validation, num_validation, num_test]
    )
    return LabelledImages(resize_images(images, image_size, resize), labels.astype(np.int32), split)

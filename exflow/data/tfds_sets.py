"""Omniglot, MNIST, Fashion-MNIST and CIFAR-10 through `tensorflow_datasets` (TFDS), which is imported only when needed."""

import importlib
import socket
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from tqdm import tqdm

from exflow.data import cache, vinyals
from exflow.data.registry import TEST, TRAIN, VALIDATION, LabelledImages, register
from exflow.data.resize import resize as resize_images
from exflow.data.tfdata import import_tensorflow
from exflow.errors import UserError

NUM_VALIDATION = 5000  # images held out of the training images where TFDS has no validation split
NETWORK_TIMEOUT_SECONDS = 5.0
BATCH_SIZE = 500


def _unavailable(name: str, folder: Any, reason: str) -> UserError:
    reason = " ".join(reason.split())[:200]
    searched = " or ".join(str(path) for path in cache.cache_dirs())
    return UserError(
        f"{name}: no prepared file in {searched}, no TFDS data set in {folder}, and it cannot be downloaded ({reason}). "
        f"Run `python -m exflow.data.prepare {name}` on a machine with internet and copy the file, or set TFDS_DATA_DIR "
        "to a folder that holds it; configs/bruno_glyphs.py runs without it."
    )


def _can_reach(host: str) -> bool:
    try:
        with socket.create_connection((host, 443), NETWORK_TIMEOUT_SECONDS):
            return True
    except OSError:
        return False


def _open(name: str, version: str, host: str) -> Any:
    """The prepared TFDS builder, downloaded if need be and possible."""
    folder = cache.tfds_dir()
    try:
        import_tensorflow()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tfds = importlib.import_module("tensorflow_datasets")
    except (ImportError, UserError) as error:
        raise _unavailable(name, folder, "tensorflow-datasets is not installed here") from error
    tfds.core.utils.gcs_utils._is_gcs_disabled = True  # what is not on this machine comes from its original site
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            builder = tfds.builder(f"{name}:{version}", data_dir=str(folder))
            if not builder.is_prepared():
                if not _can_reach(host):
                    raise OSError(f"no connection to {host}")
                builder.download_and_prepare()
        except Exception as error:  # TFDS raises many kinds; each means that the data cannot be had
            raise _unavailable(name, folder, str(error) or type(error).__name__) from error
    return builder


def _read(
    builder: Any, splits: str, transform: Callable[[Any], Any]
) -> tuple[UInt8[np.ndarray, "num_images height width channels"], Int[np.ndarray, " num_images"]]:
    """All images and labels of TFDS splits, in the order of TFDS."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = builder.as_dataset(split=splits, shuffle_files=False)
        data = data.map(lambda x: (transform(x["image"]), x["label"]), num_parallel_calls=-1, deterministic=True)
        total = sum(builder.info.splits[part].num_examples for part in splits.split("+"))
        images, labels = [], []
        with tqdm(total=total, desc=f"reading {builder.name}", unit="images", disable=None) as bar:
            for image, label in data.batch(BATCH_SIZE).prefetch(2).as_numpy_iterator():
                images.append(image)
                labels.append(label)
                bar.update(len(label))
    return np.concatenate(images), np.concatenate(labels)


@register("omniglot", split="vinyals")
def omniglot(image_size: int = 28, resize: str = "bilinear") -> LabelledImages:
    """Omniglot: 1,623 characters of 20 drawings, ink bright (255 - image), one channel, split by Vinyals et al. 2016.

    Lake's two parts are pooled; the label is that of TFDS (0..1622). Images are ordered by label.

    Args:
      image_size: Height and width after the resize from 105x105.
      resize: "bilinear" as in the preprocessing of BRUNO (arXiv:1802.07535), "area" or "nearest".
    """
    images, labels = _read(_open("omniglot", "3.0.0", "github.com"), "train+test", lambda image: 255 - image[..., :1])
    order = np.argsort(labels, kind="stable")
    images, labels = resize_images(images[order], image_size, resize), labels[order].astype(np.int32)
    return LabelledImages(images, labels, vinyals.split_of_label()[labels])


def _with_validation(name: str, version: str, host: str, image_size: int, resize: str) -> LabelledImages:
    """A data set with TFDS splits train and test; the last training images become the validation split."""
    builder = _open(name, version, host)
    parts = [_read(builder, part, lambda image: image) for part in ("train", "test")]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    num_train, num_test = (len(part[1]) for part in parts)
    split = np.repeat(
        np.array([TRAIN, VALIDATION, TEST], np.uint8), [num_train - NUM_VALIDATION, NUM_VALIDATION, num_test]
    )
    return LabelledImages(resize_images(images, image_size, resize), labels.astype(np.int32), split)


@register("mnist")
def mnist(image_size: int = 28, resize: str = "bilinear") -> LabelledImages:
    """MNIST: 55,000 / 5,000 / 10,000 digits; validation is the end of the training images in TFDS order."""
    return _with_validation("mnist", "3.*.*", "storage.googleapis.com", image_size, resize)


@register("fashion_mnist")
def fashion_mnist(image_size: int = 28, resize: str = "bilinear") -> LabelledImages:
    """Fashion-MNIST: 55,000 / 5,000 / 10,000 garments; validation is the end of the training images in TFDS order."""
    return _with_validation(
        "fashion_mnist", "3.*.*", "fashion-mnist.s3-website.eu-central-1.amazonaws.com", image_size, resize
    )


@register("cifar10")
def cifar10(image_size: int = 32, resize: str = "bilinear") -> LabelledImages:
    """CIFAR-10: 45,000 / 5,000 / 10,000 colour images; validation is the end of the training images in TFDS order."""
    return _with_validation("cifar10", "3.*.*", "www.cs.toronto.edu", image_size, resize)

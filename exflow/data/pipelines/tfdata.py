"""Batches from `tf.data`, on the host, in parallel with the compiled step. The only pipeline that needs TensorFlow."""

import contextlib
import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Int32

from exflow.data.pipelines.episodes import STREAM
from exflow.data.pipelines.images import host_while_loop, images_at, order_of, place_of
from exflow.data.pipelines.spec import NUM_ROTATIONS, EpisodeSpec, ImageSpec, Pipeline
from exflow.data.registry import Images, ImageSets
from exflow.errors import UserError
from exflow.typing import Batch

PREFETCH = 4  # batches


def import_tensorflow() -> Any:
    """TensorFlow, quiet and with accelerators hidden from it.

    Raises:
      UserError: If it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tf = importlib.import_module("tensorflow")
    except ImportError as error:
        raise UserError(
            "TensorFlow is not installed here: `python -m pip install tensorflow`, or use the pipeline 'device'."
        ) from error
    with contextlib.suppress(RuntimeError):  # the caller has started TensorFlow already, with devices of its choice
        for kind in ("GPU", "TPU"):
            tf.config.set_visible_devices([], kind)
    return tf


def tfdata_pipeline(
    image_sets: ImageSets, spec: EpisodeSpec | ImageSpec, seed: int, host_index: int = 0, num_hosts: int = 1
) -> Pipeline:
    """Pipeline whose host inputs are whole batches as numpy arrays; see `build.make_pipeline`."""
    tf = import_tensorflow()
    rows_per_host = spec.num_sets // num_hosts
    rows = slice(host_index * rows_per_host, (host_index + 1) * rows_per_host)
    with tf.device("CPU"):
        if isinstance(spec, ImageSpec):
            batch_at = _images_at(tf, image_sets, spec, seed, rows)
        else:
            batch_at = _episodes_at(tf, image_sets, spec, seed, rows)

    def batches(start_step: int) -> Iterator[Batch]:
        with tf.device("CPU"):
            steps = tf.data.Dataset.range(start_step, np.iinfo(np.int64).max)
            data = steps.map(batch_at, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            return (Batch(*arrays) for arrays in data.prefetch(PREFETCH).as_numpy_iterator())

    def materialize(resident: Any, batch: Batch) -> Batch:
        return batch

    return Pipeline("tfdata", (), batches, materialize)


def _rows_of(tf: Any, images: Images) -> Callable[[Any], Any]:
    """Function from row numbers of any shape to these images; of a memory-mapped file no others are read."""
    if not isinstance(images, np.memmap):
        held = tf.constant(images)
        return lambda rows: tf.gather(held, rows)

    def read(rows: np.ndarray) -> np.ndarray:
        return np.asarray(images[rows])

    def rows_of(rows: Any) -> Any:
        found = tf.numpy_function(read, [rows], images.dtype, stateful=False)
        return tf.ensure_shape(found, (*rows.shape, *images.shape[1:]))

    return rows_of


def _images_at(tf: Any, image_sets: ImageSets, spec: ImageSpec, seed: int, rows: slice) -> Callable[[Any], tuple]:
    """Function from a step to the arrays of a host's rows; the order is computed by NumPy."""
    order = order_of(image_sets)
    num_images = len(order.row)
    offset = np.arange(rows.start, rows.stop, dtype=np.uint32)
    images_of = _rows_of(tf, image_sets.images)
    contexts = None if image_sets.context is None else tf.constant(image_sets.context)

    def choose(step: Any) -> tuple[Int32[np.ndarray, " rows"], Int32[np.ndarray, " rows"]]:
        place = place_of(int(step), spec.num_sets, num_images)
        number = images_at(seed, place, offset, num_images, host_while_loop)
        return order.row[number], order.label[number]

    def batch_at(step: Any) -> tuple:
        chosen = tf.numpy_function(choose, [step], (tf.int32, tf.int32), stateful=False)
        row, label = (tf.ensure_shape(array, offset.shape) for array in chosen)
        arrays = images_of(row)[:, None], tf.ones([len(offset), 1], tf.bool), label
        return arrays if contexts is None else (*arrays, tf.gather(contexts, row)[:, None])

    return batch_at


def _episodes_at(tf: Any, image_sets: ImageSets, spec: EpisodeSpec, seed: int, rows: slice) -> Callable[[Any], tuple]:
    """The same for episodes; every host draws the global batch and keeps its rows."""
    num_classes, max_count = image_sets.index.shape
    num_groups = num_classes * spec.groups_per_class
    smallest = spec.set_size if spec.min_set_size is None else spec.min_set_size
    images_of = _rows_of(tf, image_sets.images)
    index, count = tf.constant(image_sets.index), tf.constant(image_sets.count)
    contexts = None if image_sets.context is None else tf.constant(image_sets.context)

    def integers(key, shape, low, high):
        return tf.random.stateless_uniform(shape, key, low, high, tf.int32, alg="philox")

    def random_order(key, shape, num, valid):
        scores = tf.where(valid, integers(key, shape, 0, tf.int32.max), -1)
        return tf.math.top_k(scores, num).indices

    def rotate_sets(x_set, rotation):  # parts and stitches: ten times faster than tf.where over whole batches
        parts = tf.dynamic_partition(x_set, rotation, NUM_ROTATIONS)
        places = tf.dynamic_partition(tf.range(rows.stop - rows.start), rotation, NUM_ROTATIONS)
        turned = [tf.transpose(part, [0, 1, 3, 2, 4]) if k % 2 else part for k, part in enumerate(parts)]
        flips = ([], [2], [2, 3], [3])
        turned = [tf.reverse(part, axes) if axes else part for part, axes in zip(turned, flips, strict=True)]
        return tf.ensure_shape(tf.dynamic_stitch(places, turned), x_set.shape)

    def batch_at(step):
        key = tf.random.fold_in(tf.constant([seed, STREAM], tf.int64), step, alg="philox")
        group_key, image_key, size_key = tf.unstack(tf.random.split(key, 3, alg="philox"))
        if spec.distinct:
            group = random_order(group_key, [num_groups], spec.num_sets, True)
        else:
            group = integers(group_key, [spec.num_sets], 0, num_groups)
        class_index, rotation = group // spec.groups_per_class, group % spec.groups_per_class
        if spec.rotate and not spec.distinct_rotations:
            rotation = integers(tf.random.fold_in(group_key, 1, alg="philox"), [spec.num_sets], 0, NUM_ROTATIONS)
        valid = tf.range(max_count) < tf.gather(count, class_index)[:, None]
        position = random_order(image_key, [spec.num_sets, max_count], spec.set_size, valid)
        size = integers(size_key, [spec.num_sets, 1], smallest, spec.set_size + 1)
        mask = (tf.range(spec.set_size)[None, :] < size)[rows]
        class_index, rotation, position = class_index[rows], rotation[rows], position[rows]
        image_index = tf.gather(tf.gather(index, class_index), position, batch_dims=1)
        x_set = images_of(image_index)
        label = class_index
        if spec.rotate:
            x_set = rotate_sets(x_set, rotation)
            label = label * NUM_ROTATIONS + rotation
        if spec.min_set_size is not None:
            x_set = tf.where(mask[:, :, None, None, None], x_set, tf.zeros([], x_set.dtype))
        if contexts is None:
            return x_set, mask, label
        return x_set, mask, label, tf.where(mask[:, :, None], tf.gather(contexts, image_index), tf.zeros([]))

    return batch_at

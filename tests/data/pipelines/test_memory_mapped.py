"""Images in a file that stays on the disk: the same batches, and memory that does not grow with the file."""

import itertools
import multiprocessing

import numpy as np
import pytest

from benchmarks import bench_stream
from exflow.data import datasets
from exflow.data.pipelines.build import make_pipeline
from exflow.data.pipelines.spec import EpisodeSpec, ImageSpec
from exflow.data.registry import REGISTRY, LabelledImages, group_by_class, register


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> np.memmap:
    """60 different pictures of 4x4 pixels in a file."""
    path = tmp_path_factory.mktemp("mapped") / "images.npy"
    pixels = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 1), np.uint8)
    np.save(path, pixels)
    return np.load(path, mmap_mode="r")


@pytest.mark.parametrize("spec", [EpisodeSpec(4, 3, rotate=True, min_set_size=2), ImageSpec(7)], ids=["sets", "images"])
def test_batches_of_a_mapped_file_are_those_of_its_array(images, spec) -> None:
    labels = np.arange(60, dtype=np.int32) % 10
    context = np.arange(60, dtype=np.float32)[:, None] if isinstance(spec, ImageSpec) else None
    streams = [
        make_pipeline("tfdata", group_by_class(kind, labels, context=context), spec, seed=5).batches(3)
        for kind in (np.asarray(images), images)
    ]
    for held, mapped in itertools.islice(zip(*streams, strict=True), 4):
        for one, other in zip(held[:4], mapped[:4], strict=True):
            np.testing.assert_array_equal(one, other)


def test_splits_that_follow_each_other_are_views(images) -> None:
    split = np.repeat(np.array([0, 1, 2], np.uint8), [40, 10, 10])

    @register("mapped", cache=False)
    def mapped(order: str = "") -> LabelledImages:
        return LabelledImages(images, np.arange(60, dtype=np.int32) // 5, split[::-1].copy() if order else split)

    try:
        sets, both = datasets.load("mapped"), datasets.load("mapped", split="standard_trainval")
    finally:
        del REGISTRY["mapped"]
    for part, rows in (("train", slice(40)), ("validation", slice(40, 50)), ("test", slice(50, 60))):
        assert isinstance(sets[part].images, np.memmap)
        assert np.shares_memory(sets[part].images, images)
        np.testing.assert_array_equal(sets[part].images, images[rows])
    assert both["train"].images.shape[0] == 50


@pytest.mark.slow
@pytest.mark.parametrize("name", bench_stream.SPECS)
def test_memory_does_not_grow_with_a_mapped_file(name, tmp_path) -> None:
    """64 and 256 MB; of images in memory, the growth is that of the data, and TensorFlow's copy of them."""
    peaks = {}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for megabytes in (64, 256):
            path = tmp_path / f"{megabytes}.npy"
            bench_stream.write_images(path, megabytes)
            for mapped in (True, False):
                arguments = path, mapped, bench_stream.SPECS[name], 20
                peaks[mapped, megabytes] = pool.apply(bench_stream.measure, arguments)["peak MB"]
    assert peaks[True, 256] - peaks[True, 64] < 0.1 * 192
    assert peaks[False, 256] - peaks[False, 64] > 0.9 * 192

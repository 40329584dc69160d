"""Sets of float32 vectors on the way of the images: cache file, both pipelines, and what is refused at start."""

import itertools

import jax
import numpy as np
import pytest

from exflow.config import base_config
from exflow.data import datasets, prepared
from exflow.data.building.vectors import label_vectors
from exflow.data.pipelines import augment
from exflow.data.pipelines.build import make_pipeline
from exflow.data.pipelines.spec import PIPELINES, EpisodeSpec
from exflow.data.registry import SPLITS, ImageSets, LabelledImages, register
from exflow.errors import UserError
from exflow.training.inputs import build_model


def numbered_sets() -> LabelledImages:
    """9 sets of 6 vectors (number of the set + 1, number of the vector + 0.5); 5 for training, 2 and 2."""
    vectors = np.stack(np.meshgrid(np.arange(9) + 1, np.arange(6) + 0.5, indexing="ij"), axis=2).astype(np.float32)
    known = vectors[:, 0, :1]
    return label_vectors([(vectors[:5], known[:5]), (vectors[5:7], known[5:7]), (vectors[7:], known[7:])])


@pytest.fixture
def points(clean_registry, cache_dir) -> dict[str, ImageSets]:
    register("points")(lambda: numbered_sets())
    return datasets.load("points", image_size=28, resize="bilinear")  # keys that a configuration always has


def test_sets_become_classes_and_travel_through_the_cache(points, cache_dir) -> None:
    (path,) = cache_dir.glob("points-*.npz")
    for part, numbers in zip(SPLITS, ([0, 1, 2, 3, 4], [5, 6], [7, 8]), strict=True):
        sets = points[part]
        assert sets.images.dtype == np.float32
        assert sets.images.shape == (6 * len(numbers), 1, 1, 2)
        np.testing.assert_array_equal(sets.class_ids, numbers)
        first, second = np.moveaxis(sets.images[sets.index][:, :, 0, 0], -1, 0)
        np.testing.assert_array_equal(first, np.array(numbers)[:, None] + np.ones((1, 6)))
        np.testing.assert_array_equal(second, np.tile(np.arange(6) + 0.5, (len(numbers), 1)))
        np.testing.assert_array_equal(sets.context[sets.index][:, :, 0], first)
    np.testing.assert_array_equal(prepared.read(path).images, numbered_sets().images)


@pytest.mark.parametrize("name", PIPELINES)
def test_batches_hold_different_vectors_of_one_set_and_zeros(name, points) -> None:
    spec = EpisodeSpec(num_sets=3, set_size=6, distinct=True, min_set_size=1)
    pipeline = make_pipeline(name, points["train"], spec, seed=1)
    materialize = jax.jit(pipeline.materialize)

    def take(start: int, num: int) -> list:
        inputs = itertools.islice(pipeline.batches(start), num)
        return [jax.tree.map(np.asarray, materialize(pipeline.resident, x)) for x in inputs]

    batches = take(0, 12)
    jax.tree.map(np.testing.assert_array_equal, batches[8:], take(8, 4))
    assert {batch.mask[row].sum() for batch in batches for row in range(3)} == {1, 2, 3, 4, 5, 6}
    for batch in batches:
        assert batch.x_set.shape == (3, 6, 1, 1, 2)
        assert batch.x_set.dtype == np.float32
        assert not batch.x_set[~batch.mask].any()
        assert not batch.context[~batch.mask].any()
        assert len(set(batch.label)) == 3
        for x, mask, label in zip(batch.x_set[:, :, 0, 0], batch.mask, batch.label, strict=True):
            assert set(x[mask, 0]) == {label + 1.0}
            assert len(set(x[mask, 1])) == mask.sum()


def test_only_finite_vectors_of_one_pixel_are_kept() -> None:
    data = numbered_sets()
    prepared.check(data)
    wrong = data.images.copy()
    wrong[3, 0, 0, 1] = np.nan
    for images in (wrong, data.images.reshape(-1, 1, 2, 1), data.images[:, 0, 0], data.images.astype(np.float64)):
        with pytest.raises(ValueError, match="images: expected "):
            prepared.check(data._replace(images=images))


def test_what_only_pictures_can_have_is_refused_at_start(points) -> None:
    with pytest.raises(UserError, match=r"points/train: its elements are vectors.*Set --config.data.rotate=False"):
        make_pipeline("device", points["train"], EpisodeSpec(2, 2, rotate=True), 0)
    with pytest.raises(UserError, match=r"got float32 vectors, which cannot be warped. Set --config.data.augment.prob"):
        augment.random_affine(jax.random.key(0), jax.numpy.asarray(points["train"].images), rotation_degrees=10.0)
    config = base_config("bruno")
    config.data.downscale = 2
    with pytest.raises(UserError, match=r"downscale: 2 does not divide the 1x1 of points/train. Set --config.data.dow"):
        build_model(config, points)


def test_pictures_of_one_size_need_that_image_size(clean_registry) -> None:
    images = np.zeros((3, 5, 5, 1), np.uint8)
    register("fixed", cache=False)(
        lambda: LabelledImages(images, np.arange(3, dtype=np.int32), np.arange(3, dtype="u1"))
    )
    assert datasets.load("fixed", image_size=5)["test"].images.shape == (1, 5, 5, 1)
    with pytest.raises(UserError, match=r"fixed: its images have 5x5 pixels only. Set --config.data.image_size=5"):
        datasets.load("fixed", image_size=28)

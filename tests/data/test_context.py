"""Contexts of images on their way from a builder through the cache and both pipelines to a batch."""

import itertools

import jax
import numpy as np
import pytest

from exflow.data import datasets, prepared
from exflow.data.labelled import resolve_options
from exflow.data.pipelines.build import make_pipeline
from exflow.data.pipelines.spec import PIPELINES, EpisodeSpec
from exflow.data.registry import LabelledImages, group_by_class, register
from exflow.errors import UserError

LABELS = np.repeat(np.arange(9, dtype=np.int32), 6)
SPLIT = np.repeat(np.array([0, 0, 0, 0, 0, 1, 1, 2, 2], np.uint8), 6)


def views(num_values: int = 2, dtype: type = np.float32) -> LabelledImages:
    """9 objects of 6 views of 3x3; pixel (0, 0) tells the object, (0, 1) the view; so does the context."""
    images = np.zeros((54, 3, 3, 1), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = 100 + LABELS, np.arange(54) % 6 + 1
    context = np.stack([LABELS + 1, np.arange(54) % 6 + 1], axis=1)[:, :num_values]
    return LabelledImages(images, LABELS, SPLIT, context.astype(dtype))


def assert_matching(x_set, mask, context) -> None:
    """The context tells the same object and view as the pixels; nothing is known of masked places."""
    np.testing.assert_array_equal(context[..., 0][mask], x_set[..., 0, 0, 0][mask].astype(int) - 99)
    np.testing.assert_array_equal(context[..., 1][mask], x_set[..., 0, 1, 0][mask])
    assert not context[~mask].any()


def test_the_cache_keeps_contexts(cache_dir, clean_registry) -> None:
    calls = []

    @register("toy_views")
    def toy_views(image_size: int = 3, seed: int = 0, kind: str = "a") -> LabelledImages:
        calls.append((seed, kind))
        return views()

    for _ in range(2):
        sets = datasets.load("toy_views")
    assert len(calls) == 1
    path = prepared.find("toy_views", resolve_options("toy_views"))
    assert path is not None
    np.testing.assert_array_equal(prepared.read(path).context, views().context)
    assert [sets[part].context.shape for part in ("train", "validation", "test")] == [(30, 2), (12, 2), (12, 2)]
    for part in sets.values():
        assert_matching(part.images, np.ones(len(part.images), bool), part.context)
    assert datasets.parse_options("toy_views", " seed=3, kind = b ") == {"seed": 3, "kind": "b"}
    assert datasets.parse_options("toy_views", "") == {}
    for text, message in (
        ("seed=x", r"config.data.options: expected seed=int for toy_views, got 'seed=x'"),
        ("seed", r"expected seed=int for toy_views, got 'seed'"),
        ("sed=3", r"toy_views: has no option 'sed'. Its options: image_size, seed, kind"),
        ("image_size=3", r"config.data.options: image_size has a key of its own. Set --config.data.image_size"),
    ):
        with pytest.raises(UserError, match=message):
            datasets.parse_options("toy_views", text)


def test_a_file_without_contexts_has_none(cache_dir) -> None:
    path = prepared.write("plain", {}, views()._replace(context=None))
    assert prepared.read(path).context is None


@pytest.mark.parametrize(
    "context",
    [np.zeros((54, 2)), np.zeros(54, np.float32), np.zeros((53, 2), np.float32), np.full((54, 2), np.nan, np.float32)],
    ids=["float64", "one axis", "too few", "nan"],
)
def test_damaged_contexts_are_refused(context) -> None:
    with pytest.raises(ValueError, match=r"context: expected finite float32 \[54, dim\]"):
        prepared.check(views()._replace(context=context))


@pytest.mark.parametrize("name", PIPELINES)
def test_batches_carry_the_contexts_of_their_images(name) -> None:
    data = views()
    order = np.random.default_rng(0).permutation(54)
    sets = group_by_class(data.images[order], data.labels[order], "toy", data.context[order])
    spec = EpisodeSpec(num_sets=4, set_size=5, rotate=False, distinct=False, min_set_size=2)
    pipeline = make_pipeline(name, sets, spec, seed=1)
    materialize, seen = jax.jit(pipeline.materialize), set()
    for inputs in itertools.islice(pipeline.batches(0), 20):
        batch = jax.tree.map(np.asarray, materialize(pipeline.resident, inputs))
        assert batch.context.shape == (4, 5, 2)
        assert batch.context.dtype == np.float32
        assert_matching(batch.x_set, batch.mask, batch.context)
        seen.update(map(tuple, batch.context[batch.mask].tolist()))
    assert len(seen) > 45


@pytest.mark.parametrize("name", PIPELINES)
def test_batches_of_data_without_contexts_have_none(name, numbered) -> None:
    pipeline = make_pipeline(name, numbered, EpisodeSpec(2, 3), seed=1)
    inputs = next(iter(pipeline.batches(0)))
    assert jax.jit(pipeline.materialize)(pipeline.resident, inputs).context is None


def test_rotated_sets_with_contexts_are_refused() -> None:
    data = views()
    sets = group_by_class(data.images, data.labels, "toy", data.context)
    with pytest.raises(UserError, match=r"toy: its context tells how each image is turned.*--config.data.rotate=False"):
        make_pipeline("device", sets, EpisodeSpec(2, 3, rotate=True), seed=1)

"""Both pipelines: what is drawn, that it is a function of (seed, step), and that it is uniform."""

import itertools
from collections import Counter
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core.bijectors.rotation import quarter_turns
from exflow.data.pipelines.build import make_pipeline
from exflow.data.pipelines.episodes import draw_episodes, random_order
from exflow.data.pipelines.spec import PIPELINES, EpisodeSpec
from exflow.data.registry import group_by_class
from exflow.errors import UserError
from exflow.typing import Batch

SPEC = EpisodeSpec(num_sets=6, set_size=4, rotate=True, distinct=True)


@pytest.fixture(scope="module")
def take(numbered):
    """Function that returns the first batches from a step on, as numpy arrays; compiles every pipeline once."""

    @cache
    def compiled(name: str, spec: EpisodeSpec, seed: int, *hosts: int):
        pipeline = make_pipeline(name, numbered, spec, seed, *hosts)
        return pipeline, jax.jit(pipeline.materialize)

    def first(name: str, spec: EpisodeSpec, num: int, *hosts: int, seed: int = 3, start_step: int = 0) -> list[Batch]:
        pipeline, materialize = compiled(name, spec, seed, *hosts)
        inputs = itertools.islice(pipeline.batches(start_step), num)
        return [jax.tree.map(np.asarray, materialize(pipeline.resident, x)) for x in inputs]

    return first


def read_images(x_set: np.ndarray, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class and number of every image of a `numbered` batch, after turning the sets back."""
    upright = np.stack([np.rot90(x, -k, axes=(1, 2)) for x, k in zip(x_set, turns, strict=True)])
    assert (upright[:, :, 0, 0] >= 100).all()
    assert ((upright > 0).sum(axis=(2, 3, 4)) == 2).all()
    return upright[:, :, 0, 0, 0].astype(int) - 100, upright[:, :, 0, 1, 0].astype(int) - 1


@pytest.mark.parametrize("name", PIPELINES)
def test_sets_are_distinct_images_of_one_class_turned_together(name, take) -> None:
    for batch in take(name, SPEC, 40):
        assert batch.x_set.shape == (6, 4, 4, 4, 1)
        assert batch.x_set.dtype == np.uint8
        assert batch.mask.dtype == bool
        assert batch.label.dtype == np.int32
        assert batch.mask.all()
        classes, numbers = read_images(batch.x_set, batch.label % 4)
        np.testing.assert_array_equal(classes, np.broadcast_to(batch.label[:, None] // 4, classes.shape))
        assert all(len(set(row)) == 4 for row in numbers)
        assert len(set(batch.label)) == 6


@pytest.mark.parametrize("name", PIPELINES)
def test_without_rotation_labels_are_classes(name, take) -> None:
    for batch in take(name, SPEC._replace(rotate=False, min_set_size=1), 10):
        np.testing.assert_array_equal(batch.x_set[:, 0, 0, 0, 0], 100 + batch.label)
        assert len(set(batch.label)) == 6


@pytest.mark.parametrize("name", PIPELINES)
def test_a_batch_is_a_function_of_seed_and_step(name, take) -> None:
    from_start = take(name, SPEC, 12)
    resumed = take(name, SPEC, 5, start_step=7)
    jax.tree.map(np.testing.assert_array_equal, from_start[7:], resumed)
    other_seed = take(name, SPEC, 12, seed=4)
    assert not any(np.array_equal(a.x_set, b.x_set) for a, b in zip(from_start, other_seed, strict=True))
    assert not any(np.array_equal(a.x_set, b.x_set) for a, b in itertools.pairwise(from_start))


def test_hosts_take_rows_of_one_global_batch(take) -> None:
    spec = SPEC._replace(min_set_size=2)
    whole = take("tfdata", spec, 4)
    parts = [take("tfdata", spec, 4, i, 3) for i in range(3)]
    joined = [jax.tree.map(lambda *rows: np.concatenate(rows), *step) for step in zip(*parts, strict=True)]
    jax.tree.map(np.testing.assert_array_equal, whole, joined)


@pytest.mark.parametrize("name", PIPELINES)
def test_ragged_sets_are_masked_and_blank(name, take) -> None:
    batches = take(name, SPEC._replace(rotate=False, min_set_size=1), 250)
    sizes = Counter()
    for batch in batches:
        size = batch.mask.sum(axis=1)
        np.testing.assert_array_equal(batch.mask, np.arange(4) < size[:, None])
        assert not batch.x_set[~batch.mask].any()
        assert (batch.x_set[batch.mask][:, 0, 0, 0] >= 100).all()
        sizes.update(size.tolist())
    assert_uniform([sizes[k] for k in (1, 2, 3, 4)])


def assert_uniform(counts) -> None:
    """Five-sigma gate of each count under equal probabilities."""
    counts = np.asarray(counts, float)
    total, probability = counts.sum(), 1 / len(counts)
    np.testing.assert_array_less(
        abs(counts - total * probability), 5 * np.sqrt(total * probability * (1 - probability))
    )


@pytest.mark.parametrize("distinct", [True, False])
@pytest.mark.parametrize("name", PIPELINES)
def test_draws_are_uniform(name, distinct, numbered, take) -> None:
    spec = EpisodeSpec(num_sets=8, set_size=5, rotate=True, distinct=distinct)
    batches = take(name, spec, 600)
    labels = np.concatenate([batch.label for batch in batches])
    assert_uniform(np.bincount(labels, minlength=28))
    pixels = np.concatenate([batch.x_set for batch in batches]).reshape(len(labels), 5, 16).astype(int)
    numbers = pixels.sum(axis=2) - pixels.max(axis=2)
    for class_index, count in enumerate(numbered.count):
        for position in (0, 4):  # any image at any place of the set
            found = Counter(numbers[labels // 4 == class_index][:, position].tolist())
            assert len(found) == count
            assert_uniform(list(found.values()))
    repeats = np.mean([len(set(batch.label)) < 8 for batch in batches])
    expected = 0.0 if distinct else 1 - np.prod(1 - np.arange(8) / 28)
    assert abs(repeats - expected) <= 5 * np.sqrt(expected * (1 - expected) / 600)


VALID = np.array([[True, True, False, True]])


def test_random_order_is_a_uniform_permutation() -> None:
    orders = np.asarray(jax.jit(random_order, static_argnums=(1, 2))(jax.random.key(1), (12000, 4), 4, VALID))
    np.testing.assert_array_equal(orders[:, 3], 2)  # the invalid entry comes last
    found = Counter(map(tuple, orders[:, :3].tolist()))
    assert len(found) == 6
    assert_uniform(list(found.values()))


def test_rotation_is_that_of_numpy() -> None:
    x_set = np.random.default_rng(0).integers(0, 256, (4, 3, 6, 6, 2), dtype=np.uint8)
    turned = jax.jit(quarter_turns)(x_set, np.arange(4))
    for k in range(4):
        np.testing.assert_array_equal(turned[k], np.rot90(x_set[k], k, axes=(1, 2)))


def test_device_pipeline_runs_under_scan_and_compiles_once(numbered, take) -> None:
    pipeline = make_pipeline("device", numbered, SPEC, seed=3)
    traces = []

    @jax.jit
    def several(resident, steps):
        traces.append(1)
        return jax.lax.scan(lambda carry, step: (carry, pipeline.materialize(resident, step)), 0, steps)[1]

    scanned = several(pipeline.resident, jnp.arange(4, dtype=jnp.int32))
    several(pipeline.resident, jnp.arange(4, 8, dtype=jnp.int32))
    assert len(traces) == 1
    for step, batch in enumerate(take("device", SPEC, 4)):
        jax.tree.map(np.testing.assert_array_equal, batch, jax.tree.map(lambda x, i=step: np.asarray(x[i]), scanned))


@pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")
def test_device_pipeline_is_the_same_on_two_devices(numbered, take) -> None:
    pipeline = make_pipeline("device", numbered, SPEC, seed=3)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("data",))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    resident = jax.device_put(pipeline.resident, whole)
    two = jax.jit(pipeline.materialize, out_shardings=split)(resident, np.int32(5))
    assert len(two.x_set.sharding.device_set) == 2
    jax.tree.map(np.testing.assert_array_equal, take("device", SPEC, 1, start_step=5)[0], jax.tree.map(np.asarray, two))


def test_large_classes_are_drawn_without_replacement() -> None:
    index, count = jnp.arange(9000, dtype=jnp.int32).reshape(3, 3000), jnp.array([3000, 2500, 100])
    spec = EpisodeSpec(300, 90, distinct=False)
    episodes = jax.jit(draw_episodes, static_argnums=3)(jax.random.key(0), index, count, spec)
    images = np.asarray(episodes.image)
    assert all(len(set(row)) == 90 for row in images)
    assert (images % 3000 < np.asarray(count)[np.asarray(episodes.class_index)][:, None]).all()


def test_what_cannot_be_drawn_is_refused(numbered) -> None:
    def refused(match: str, spec: EpisodeSpec = SPEC, name: str = "device", sets=numbered, **hosts) -> None:
        with pytest.raises(UserError, match=match) as caught:
            make_pipeline(name, sets, spec, 0, **hosts)
        assert "\n" not in str(caught.value)

    refused(r"numbered/train: class 0 has 5 images, sets need 6 \(2 of 7 .*set_size <= 5", SPEC._replace(set_size=6))
    refused(r"29 distinct sets need as many classes, there are 28", SPEC._replace(num_sets=29))
    refused(r"8 distinct sets need as many classes, there are 7", SPEC._replace(num_sets=8, rotate=False))
    refused(r"1 <= min_set_size <= set_size", SPEC._replace(min_set_size=5))
    refused(r"num_sets >= 1", SPEC._replace(num_sets=0))
    refused(r"6 sets cannot be divided over 4 hosts", num_hosts=4)
    refused(r"pipeline: expected one of device, tfdata, got 'grain'", name="grain")
    flat = group_by_class(numbered.images[:, :3], np.zeros(len(numbered.images), np.int32), "flat")
    refused(r"flat: rotation needs square images, got 3x4", SPEC._replace(num_sets=2), sets=flat)

"""Single images in the order of epochs: against brute force, and the same from both pipelines."""

import itertools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from exflow.data.pipelines.build import make_pipeline
from exflow.data.pipelines.images import host_while_loop, images_at, mix, order_of, permute, place_of
from exflow.data.pipelines.spec import PIPELINES, EpisodeSpec, ImageSpec
from exflow.data.registry import ImageSets, group_by_class
from exflow.errors import UserError
from exflow.typing import Batch


def permutations(num_images: int, num_epochs: int, seed: int = 0) -> np.ndarray:
    """[epoch, position] of the first epochs, by NumPy."""
    epoch, position = np.divmod(np.arange(num_epochs * num_images, dtype=np.uint32), np.uint32(num_images))
    return permute(seed, epoch, position, num_images, host_while_loop).reshape(num_epochs, num_images)


@pytest.mark.parametrize("num_images", [*range(1, 20), 255, 256, 257, 1000, 162_770])
def test_every_epoch_is_a_permutation(num_images) -> None:
    epochs = permutations(num_images, 3, seed=num_images)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(num_images), (3, 1)))
    if num_images > 100:
        for one, other in itertools.combinations([*epochs, permutations(num_images, 1)[0], np.arange(num_images)], 2):
            assert (one == other).sum() <= 12  # agreements of random permutations are Poisson(1): P(> 12) = 6e-11


def chi_square(counts: np.ndarray) -> float:
    """Statistic of equal probabilities in standard deviations above its mean: of k cells, k - 1 and sqrt(2 (k - 1))."""
    expected, freedom = counts.sum() / counts.size, counts.size - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom)


@pytest.mark.parametrize(("num_images", "num_orders"), [(3, 6), (4, 24), (5, 120), (6, 720)])
def test_all_orders_of_few_images_are_equally_likely(num_images, num_orders) -> None:
    """Five standard deviations: a chi-square of 5 or more degrees of freedom exceeds them with probability below 5e-4.

    The draws are fixed, so the test passes always or never. Without the exchange of two points before the network,
    whose parity is fixed, 6 images are 300 deviations away; with 8 rounds they are 9.
    """
    epochs = permutations(num_images, 100 * num_orders, seed=7)
    counts = np.unique(epochs @ num_images ** np.arange(num_images), return_counts=True)[1]
    assert len(counts) == num_orders
    assert abs(chi_square(counts)) < 5


def test_images_are_uniform_over_positions_and_follow_each_other_at_random() -> None:
    num_images, num_epochs = 23, 6000
    epochs = permutations(num_images, num_epochs, seed=1).astype(np.int64)
    places = np.stack([np.bincount(column, minlength=num_images) for column in epochs.T])
    assert abs(chi_square(places)) < 5
    follow = np.bincount((num_images * epochs[:, :-1] + epochs[:, 1:]).ravel(), minlength=num_images**2)
    off_diagonal = ~np.eye(num_images, dtype=bool).ravel()
    assert follow[~off_diagonal].sum() == 0
    assert abs(chi_square(follow[off_diagonal])) < 5
    across = np.bincount(num_images * epochs[:-1, 3] + epochs[1:, 3], minlength=num_images**2)  # of successive epochs
    assert abs(chi_square(across)) < 5


def test_mix_is_that_of_murmurhash3() -> None:
    """The finalizer by Python's integers; a bijection with 0 as fixed point."""

    def oracle(h: int) -> int:
        h ^= h >> 16
        h = h * 0x85EBCA6B % 2**32
        h ^= h >> 13
        h = h * 0xC2B2AE35 % 2**32
        return h ^ h >> 16

    words = np.array([0, 1, 2, 0xDEADBEEF, 2**32 - 1], np.uint32)
    assert mix(words).tolist() == [oracle(int(word)) for word in words]


def test_places_are_exact_for_any_step() -> None:
    step, batch_size, num_images = 2**40 + 12345, 512, 162_770
    place = place_of(step, batch_size, num_images)
    assert int(place.epoch) == step * 512 // 162_770 % 2**32
    assert int(place.position) == step * 512 % 162_770


@pytest.mark.parametrize(("num_images", "batch_size"), [(45, 9), (45, 8), (45, 100), (1, 3)])
def test_batches_are_the_stream_of_epochs_cut_in_pieces(num_images, batch_size) -> None:
    """Against the epochs written one after the other: nothing is lost or repeated where the batch does not divide."""
    stream = permutations(num_images, 10 * batch_size // num_images + 2, seed=3).ravel()
    offset = np.arange(batch_size, dtype=np.uint32)
    for step in range(10):
        place = place_of(step, batch_size, num_images)
        found = images_at(3, place, offset, num_images, host_while_loop)
        np.testing.assert_array_equal(found, stream[step * batch_size : (step + 1) * batch_size])


def shapes(jaxpr) -> Iterator[tuple[int, ...]]:
    """Shapes of all results in a program and the programs inside it."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.shape for variable in equation.outvars)
        for inner in jaxprs_in_params(equation.params):
            yield from shapes(inner)


@pytest.mark.parametrize("num_images", [162_770, 10_000_000])
def test_a_batch_costs_the_same_whatever_the_number_of_images(num_images) -> None:
    """The data are shapes only: nothing of their size is allocated here, nor computed by the program."""
    sets = ImageSets(
        images=np.broadcast_to(np.zeros((1, 2, 2, 1), np.uint8), (num_images, 2, 2, 1)),
        index=np.broadcast_to(np.zeros(1, np.int32), (10, num_images // 10)),
        count=np.full(10, num_images // 10, np.int32),
        class_ids=np.arange(10, dtype=np.int32),
    )
    pipeline = make_pipeline("device", sets, ImageSpec(512), seed=0)
    resident = jax.eval_shape(lambda: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), pipeline.resident))
    place = next(pipeline.batches(0))
    jaxpr = jax.make_jaxpr(pipeline.materialize)(resident, place)
    sizes = [int(np.prod(shape)) for shape in shapes(jaxpr.jaxpr)]
    assert len(sizes) > 100  # the rounds of the network are among them
    assert max(sizes) == 512 * 2 * 2
    assert sum(np.size(constant) for constant in jaxpr.consts) <= 512


def take(
    name: str, sets: ImageSets, num_sets: int, num: int, seed: int = 5, start_step: int = 0, hosts=(0, 1)
) -> list[Batch]:
    """The first batches from a step on, as numpy arrays."""
    pipeline = make_pipeline(name, sets, ImageSpec(num_sets), seed, *hosts)
    materialize = jax.jit(pipeline.materialize)
    inputs = itertools.islice(pipeline.batches(start_step), num)
    return [jax.tree.map(np.asarray, materialize(pipeline.resident, x)) for x in inputs]


def same(batches: list[Batch], others: list[Batch]) -> None:
    jax.tree.map(np.testing.assert_array_equal, batches, others)


@pytest.mark.parametrize("name", PIPELINES)
def test_an_epoch_holds_every_image_once_with_its_class(name, numbered) -> None:
    num_images = len(numbered.images)  # 44
    batches = take(name, numbered, 11, 12)
    orders = []
    for epoch in (batches[:4], batches[4:8], batches[8:]):
        numbers = np.concatenate([batch.x_set[:, 0, 0, 1, 0] for batch in epoch])
        assert sorted(numbers) == list(range(1, num_images + 1))
        orders.append(tuple(numbers))
    assert len(set(orders)) == 3
    for batch in batches:
        assert batch.x_set.shape == (11, 1, 4, 4, 1)
        assert batch.x_set.dtype == np.uint8
        assert batch.mask.shape == (11, 1)
        assert batch.mask.dtype == bool
        assert batch.mask.all()
        assert batch.label.dtype == np.int32
        np.testing.assert_array_equal(batch.x_set[:, 0, 0, 0, 0], 100 + batch.label)
        assert batch.context is None


def test_both_pipelines_deliver_the_same_and_resume(numbered) -> None:
    batches = take("device", numbered, 12, 9)  # 12 does not divide the 44 images
    same(take("tfdata", numbered, 12, 9), batches)
    for name in PIPELINES:
        same(take(name, numbered, 12, 4, start_step=5), batches[5:])
    other = take("device", numbered, 12, 9, seed=6)
    assert not any(np.array_equal(one.x_set, two.x_set) for one, two in zip(batches, other, strict=True))


def test_hosts_take_rows_of_one_global_batch(numbered) -> None:
    parts = [take("tfdata", numbered, 12, 5, hosts=(host, 3)) for host in range(3)]
    joined = [jax.tree.map(lambda *rows: np.concatenate(rows), *step) for step in zip(*parts, strict=True)]
    same(joined, take("tfdata", numbered, 12, 5))


def test_the_device_pipeline_runs_under_scan(numbered) -> None:
    pipeline = make_pipeline("device", numbered, ImageSpec(12), seed=5)
    stacked = jax.tree.map(lambda *x: np.stack(x), *itertools.islice(pipeline.batches(0), 4))
    step = jax.jit(lambda resident, places: jax.lax.map(lambda place: pipeline.materialize(resident, place), places))
    batches = step(pipeline.resident, stacked)
    same([jax.tree.map(lambda x, i=i: x[i], batches) for i in range(4)], take("device", numbered, 12, 4))


@pytest.mark.parametrize("name", PIPELINES)
def test_vectors_and_contexts_travel_with_their_images(name) -> None:
    vectors = np.arange(20, dtype=np.float32).reshape(20, 1, 1, 1)
    context = np.stack([np.arange(20), np.arange(20) ** 2], axis=1).astype(np.float32)
    labels = np.arange(20, dtype=np.int32)[::-1] // 4
    sets = group_by_class(vectors, labels, "vectors/train", context)
    for batch in take(name, sets, 5, 4):
        value = batch.x_set[:, 0, 0, 0, 0]
        assert batch.x_set.dtype == np.float32
        np.testing.assert_array_equal(batch.context, np.stack([value, value**2], axis=1)[:, None])
        np.testing.assert_array_equal(sets.class_ids[batch.label], (19 - value.astype(int)) // 4)


def test_rows_that_no_class_names_are_left_out(numbered) -> None:
    fewer = numbered._replace(count=np.minimum(numbered.count, 2))
    order = order_of(fewer)
    np.testing.assert_array_equal(order.row, numbered.index[:, :2].ravel())
    np.testing.assert_array_equal(order.label, np.repeat(np.arange(7), 2))


def test_what_cannot_be_delivered_is_refused(numbered) -> None:
    empty = numbered._replace(count=np.zeros(7, np.int32))
    for match, sets, spec, hosts in (
        (r"images of numbered/train: expected num_sets >= 1, got 0", numbered, ImageSpec(0), 1),
        (r"numbered/train: expected 1 to 2147483647 images, got 0", empty, ImageSpec(2), 1),
        (r"num_sets: 6 sets cannot be divided over 4 hosts", numbered, ImageSpec(6), 4),
    ):
        with pytest.raises(UserError, match=match) as caught:
            make_pipeline("device", sets, spec, 0, num_hosts=hosts)
        assert "\n" not in str(caught.value)
    assert make_pipeline("device", numbered, EpisodeSpec(2, 3), 0).name == "device"

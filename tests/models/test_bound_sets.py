"""Set functions made of a joint bound, and those of models of single images, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from exflow.core.latents.elements import EncodedElement
from exflow.models import bound_sets
from exflow.models.bound_sets import sets_from_bound
from exflow.models.independent_sets import independent_sets

RATIO = 0.7  # covariance of two elements of a set; their variance is 1 + RATIO
MASK = np.array([[True, True, False, True], [False] * 4, [True] * 4])


def encode(params, key, x, context=None):
    """Vectors of one entry; the seed is the place of the entry among halves."""
    value = x[..., 0, 0, 0].astype(float)
    return EncodedElement(value * params, x, jnp.round(2 * value).astype(jnp.int32).astype(jnp.uint32))


def joint(params, element_set, mask=None, draws=1):
    """log N(x; 0, 1 + RATIO 11') of the elements there are; more draws shift it, as they do a bound."""
    mask = jnp.ones(element_set.seed.shape, bool) if mask is None else mask
    z, count = jnp.where(mask, element_set.features, 0.0), mask.sum(-1)
    precision = RATIO / (1 + RATIO * count)
    quadratic = (z**2).sum(-1) - precision * z.sum(-1) ** 2
    log_det = count * np.log(2 * np.pi) + jnp.log1p(RATIO * count)
    return -0.5 * (log_det + quadratic) + 0.1 * (draws - 1) * count


def expected_joint(z):
    """The same by SciPy."""
    size = len(z)
    return multivariate_normal(np.zeros(size), np.eye(size) + RATIO).logpdf(z) if size else 0.0


def no_images(params, state, key, num_samples, coherent=False, context=None):
    return jnp.zeros((num_samples, *state.mask.shape[:-1], 1, 1, 1), jnp.float32)


def compiled(sets):
    """The same functions, each compiled once per shape."""
    names = ("update", "remove", "merge")
    with_draws = {"joint": 3, "conditional": 3, "log_prob": 3, "class_log_probs": 3}
    functions = {name: jax.jit(getattr(sets, name)) for name in (*names, "leave_one_out")}
    functions |= {name: jax.jit(getattr(sets, name), static_argnums=at) for name, at in with_draws.items()}
    return sets._replace(**functions)


BOUND = compiled(sets_from_bound(joint, encode, (1, 1, 1), "float32", no_images))


@pytest.fixture
def elements(x64):
    """Sets [3, 4], whose features are multiples of a half, some of them equal."""
    x = np.random.default_rng(0).integers(-4, 5, (3, 4, 1, 1, 1)) / 2
    return encode(1.0, None, jnp.asarray(x))


def place(elements, *index):
    return jax.tree.map(lambda leaf: leaf[index], elements)


def test_conditionals_are_differences_over_growing_sets(elements):
    found = BOUND.conditional(1.0, elements, jnp.asarray(MASK))
    more = BOUND.conditional(1.0, elements, jnp.asarray(MASK), 3)
    z = np.asarray(elements.features)
    for row, column in np.ndindex(3, 4):
        before = z[row, :column][MASK[row, :column]]
        gain = expected_joint(np.append(before, z[row, column])) - expected_joint(before)
        np.testing.assert_allclose(found[row, column], gain if MASK[row, column] else 0, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(more, found + 0.2 * MASK, rtol=1e-9, atol=1e-12)


def test_each_element_is_left_out_once(elements):
    found, z = BOUND.leave_one_out(1.0, elements, jnp.asarray(MASK)), np.asarray(elements.features)
    for row, column in np.ndindex(3, 4):
        others = MASK[row] & (np.arange(4) != column)
        gain = expected_joint(z[row, others | (np.arange(4) == column)]) - expected_joint(z[row, others])
        np.testing.assert_allclose(found[row, column], gain if MASK[row, column] else 0, rtol=1e-10, atol=1e-12)


def test_every_query_is_scored_under_every_class(elements):
    states = BOUND.update(1.0, BOUND.init_state(1.0, (3,)), elements, jnp.asarray(MASK))
    queries = place(elements, slice(None), 0)
    queries = jax.tree.map(lambda leaf: leaf[:2], queries)
    found, z = BOUND.class_log_probs(1.0, states, queries, 2), np.asarray(elements.features)
    assert found.shape == (2, 3)
    for query, label in np.ndindex(2, 3):
        seen = z[label, MASK[label]]
        gain = expected_joint(np.append(seen, z[query, 0])) - expected_joint(seen)
        np.testing.assert_allclose(found[query, label], gain + 0.1, rtol=1e-10)


def test_queries_come_in_blocks_where_all_pairs_are_too_much_work(elements):
    """Four queries at a time, with a leading axis: the second block of the six is filled up."""
    places = 2 * 3 * 5  # leading axis, classes, elements with the place of the empty set
    work_bytes = bound_sets.BLOCK_BYTES // (4 * places)
    blocks = sets_from_bound(joint, encode, (1, 1, 1), "float32", no_images, work_bytes=work_bytes)
    twice = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf[::-1]]), elements)
    states = BOUND.update(1.0, BOUND.init_state(1.0, (2, 3)), twice, jnp.asarray(np.stack([MASK, MASK[::-1]])))
    queries = jax.tree.map(lambda leaf: jnp.concatenate([leaf[:, 0], leaf[:, 1, :2]], axis=1), twice)
    found = blocks.class_log_probs(1.0, states, queries)
    assert found.shape == (2, 6, 3)
    np.testing.assert_allclose(found, BOUND.class_log_probs(1.0, states, queries), rtol=1e-12)


def test_states_grow_shrink_merge_and_are_packed(elements):
    whole = BOUND.update(1.0, BOUND.init_state(1.0, (3,)), elements)
    one, other = (BOUND.update(1.0, BOUND.init_state(1.0, (3,)), place(elements, slice(None), part)) for part in HALVES)
    merged = BOUND.merge(1.0, one, other)
    np.testing.assert_allclose(BOUND.joint(1.0, *merged), BOUND.joint(1.0, *whole), rtol=1e-12)
    removed = BOUND.remove(1.0, whole, place(elements, slice(None), 1))
    np.testing.assert_array_equal(removed.mask.sum(-1), 3)  # one, also where equal elements are in the set
    expected = [expected_joint(np.delete(row, 1)) for row in np.asarray(elements.features)]
    np.testing.assert_allclose(BOUND.joint(1.0, *removed), expected, rtol=1e-10)
    packed = BOUND.compact(place(removed, 0))
    assert packed.mask.shape == (4,)
    np.testing.assert_allclose(BOUND.joint(1.0, *packed), expected[0], rtol=1e-10)
    np.testing.assert_allclose(
        BOUND.log_prob(1.0, removed, place(elements, slice(None), 1)),
        [expected_joint(row) for row in np.asarray(elements.features)] - np.asarray(expected),
        rtol=1e-9,
    )


def test_elements_of_single_image_models_know_nothing_of_each_other(x64):
    def log_prob(params, z, draws):
        return -0.5 * (np.log(2 * np.pi) + (z - params) ** 2) + 0.1 * (draws - 1)

    def sample(params, key, num):
        return jnp.arange(num, dtype=jnp.uint8).reshape(num, 1, 1, 1)

    sets, z = independent_sets(log_prob, sample), np.random.default_rng(1).normal(size=(3, 4))
    expected, mask = norm(2.0).logpdf(z), jnp.asarray(MASK)
    for function in (sets.conditional, sets.leave_one_out):
        np.testing.assert_allclose(function(2.0, jnp.asarray(z), mask), np.where(MASK, expected, 0), rtol=1e-12)
    np.testing.assert_allclose(sets.joint(2.0, jnp.asarray(z), mask, 2), (MASK * (expected + 0.1)).sum(1), rtol=1e-12)
    state = sets.update(2.0, sets.init_state(2.0, (3,)), jnp.asarray(z), mask)
    np.testing.assert_array_equal(state, MASK.sum(1))
    np.testing.assert_array_equal(sets.update(2.0, state, jnp.asarray(z)), MASK.sum(1) + 4)
    np.testing.assert_array_equal(sets.merge(2.0, state, sets.remove(2.0, state, jnp.asarray(z[:, 0]))), [5, -1, 7])
    np.testing.assert_allclose(sets.log_prob(2.0, state, jnp.asarray(z[:, 0])), expected[:, 0], rtol=1e-12)
    scores = sets.class_log_probs(2.0, state, jnp.asarray(z[0]))
    np.testing.assert_allclose(scores, np.repeat(expected[0][:, None], 3, axis=1), rtol=1e-12)
    images = sets.sample(2.0, state, jax.random.key(0), 2)
    np.testing.assert_array_equal(images[..., 0, 0, 0], [[0, 1, 2], [3, 4, 5]])


HALVES = (slice(0, 2), slice(2, 4))

"""Streaming aggregates equal those of the whole set, whatever the order, the chunks, the masks and the merges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core import set_statistics
from exflow.core.set_statistics import AttentionState, MaxState, MeanState

HEADS, EVENT = 2, (3, 4)  # three pixels, four channels

merge, finalize = jax.jit(set_statistics.merge), jax.jit(set_statistics.finalize)
update, remove = jax.jit(set_statistics.update), jax.jit(set_statistics.remove)
each_kind = pytest.mark.parametrize("kind", set_statistics.STATES)


def draw(seed, size, scale=1.0, dtype=np.float64):
    """Elements of one set, away from the origin, and the attention logits of theirs."""
    rng = np.random.default_rng(seed)
    features = 3.0 + scale * rng.normal(size=(size, *EVENT))
    return features.astype(dtype), (4.0 * rng.normal(size=(HEADS, size))).astype(dtype)


def whole(kind, features, logits):
    """The aggregate of one set by NumPy in float64."""
    features, logits = np.float64(features), np.float64(logits)
    if not len(features):
        return np.zeros(EVENT)
    if kind == "mean":
        return features.mean(axis=0)
    if kind == "max":
        return features.max(axis=0)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    per_channel = np.repeat(weights, EVENT[-1] // HEADS, axis=0)
    return np.einsum("cs,spc->pc", per_channel, features)


def state_of(kind, features, logits, mask=None, state=None):
    """The state of a chunk, after another if given."""
    dtype = features.dtype
    state = set_statistics.init(kind, EVENT, num_heads=HEADS, dtype=dtype) if state is None else state
    mask = np.ones(len(features), bool) if mask is None else mask
    return update(state, features, mask, logits if kind == "learned_query" else None)


@each_kind
def test_any_order_chunks_masks_and_merges_give_the_aggregate_of_the_set(x64, kind):
    """Chunks of four with a random mask and NaN in the holes, updated or merged at random, in any order."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        features, logits = draw(seed, 24)
        mask = rng.random(24) < rng.choice([0.2, 0.7, 1.0])
        expected = whole(kind, features[mask], logits[:, mask])
        features[~mask], logits[:, ~mask] = np.nan, np.nan
        states = [set_statistics.init(kind, EVENT, num_heads=HEADS)]
        for chunk in rng.permutation(24).reshape(6, 4):
            parts = features[chunk], logits[:, chunk], mask[chunk]
            if rng.random() < 0.5:
                states.append(state_of(kind, *parts))
            else:
                states[-1] = state_of(kind, *parts, state=states[-1])
        while len(states) > 1:
            first, second = rng.choice(len(states), size=2, replace=False)
            merged = merge(states[first], states[second])
            states = [state for i, state in enumerate(states) if i not in (first, second)] + [merged]
        np.testing.assert_allclose(finalize(states[0]), expected, rtol=1e-10)
        assert int(states[0].count) == mask.sum()


@each_kind
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_long_streams_lose_nothing(x64, kind, dtype):
    """Element by element, drifting, far from the origin, and with rising logits: every one is a new maximum."""
    features, _ = draw(0, 20_000, scale=0.1, dtype=dtype)
    features[:10_000] += 1
    features[..., 0] += 100
    logits = np.linspace(0, [5.0, 0.1], 20_000, axis=1, dtype=dtype)

    @jax.jit
    def stream(features, logits):
        def step(state, inputs):
            z, logit = inputs
            mask = jnp.ones(1, bool)
            return set_statistics.update(
                state, z[None], mask, logit[:, None] if kind == "learned_query" else None
            ), None

        start = set_statistics.init(kind, EVENT, num_heads=HEADS, dtype=dtype)
        return jax.lax.scan(step, start, (features, logits.T))[0]

    expected = whole(kind, features, logits)
    rtol = 1e-6 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(finalize(stream(features, logits)), expected, rtol=rtol)
    np.testing.assert_allclose(finalize(state_of(kind, features, logits)), expected, rtol=rtol)


@each_kind
def test_axes_of_sets_are_independent(x64, kind):
    rng = np.random.default_rng(0)
    features, logits = rng.normal(size=(2, 3, 5, *EVENT)), rng.normal(size=(2, 3, HEADS, 5))
    mask = rng.random((2, 3, 5)) < 0.5
    mask[0, 0] = False
    state = set_statistics.init(kind, EVENT, (2, 3), HEADS)
    state = update(state, features, mask, logits if kind == "learned_query" else None)
    found = finalize(state)
    for index in np.ndindex(2, 3):
        present = mask[index]
        expected = whole(kind, features[index][present], logits[index][:, present])
        np.testing.assert_allclose(found[index], expected, rtol=1e-10)
    np.testing.assert_array_equal(state.count, mask.sum(axis=-1))


def test_removing_undoes_adding(x64):
    features, logits = draw(1, 12)
    state = state_of("mean", features, logits)
    rng = np.random.default_rng(0)
    for _ in range(3):
        gone = rng.random(12) < 0.5
        left = remove(state, np.where(gone[:, None, None], features, np.nan), gone)
        np.testing.assert_allclose(finalize(left), features[~gone].mean(axis=0), rtol=1e-10)
        np.testing.assert_allclose(finalize(state_of("mean", features[gone], logits, None, left)), features.mean(0))
    empty = remove(state, features, np.ones(12, bool))
    for part in jax.tree.leaves(empty):
        np.testing.assert_array_equal(part, np.zeros_like(part))


@pytest.mark.parametrize("chunk", [1, 50])
def test_a_removed_outlier_leaves_no_rounding_error(chunk):
    features, logits = draw(2, 50, dtype=np.float32)
    features[20] += 1e6
    state = set_statistics.init("mean", EVENT)
    for start in range(0, 50, chunk):
        state = state_of("mean", features[start : start + chunk], logits, state=state)
    state = remove(state, features[20:21], np.ones(1, bool))
    expected = np.delete(np.float64(features), 20, axis=0).mean(axis=0)
    np.testing.assert_allclose(finalize(state), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["max", "learned_query"])
def test_what_cannot_be_removed_is_refused(kind):
    state = set_statistics.init(kind, EVENT, num_heads=HEADS)
    reason = {"max": "does not tell the largest value of the other", "learned_query": "nothing but rounding errors"}
    with pytest.raises(ValueError, match=f"expected a MeanState, got .*{reason[kind]}"):
        set_statistics.remove(state, jnp.zeros((1, *EVENT)), jnp.ones(1, bool))


def test_logits_of_any_size_neither_overflow_nor_vanish():
    features, logits = draw(3, 9, dtype=np.float32)

    def in_two_parts(first, second):
        states = [state_of("learned_query", *part) for part in ((features[:4], first), (features[4:], second))]
        return finalize(merge(*states))

    first, second = logits[:, :4], logits[:, 4:]
    for shift in np.float32([-4096, 4096]):
        rounded = (logits + shift) - shift
        expected = whole("learned_query", features, rounded)
        np.testing.assert_allclose(in_two_parts(first + shift, second + shift), expected, rtol=1e-6)
    expected = whole("learned_query", features[4:], second)
    np.testing.assert_allclose(in_two_parts(first - np.float32(1e4), second), expected, rtol=1e-6)


@each_kind
def test_empty_sets_are_zero_and_change_nothing(kind):
    features, logits = draw(4, 5, dtype=np.float32)
    state, nothing = state_of(kind, features, logits), np.zeros(5, bool)
    empty = state_of(kind, features + np.nan, logits + np.nan, nothing)
    np.testing.assert_array_equal(finalize(empty), np.zeros(EVENT))
    no_element = state_of(kind, features[:0], logits[:, :0])
    for same in (
        merge(state, empty),
        merge(no_element, state),
        state_of(kind, features + np.nan, logits + np.nan, nothing, state),
    ):
        jax.tree.map(np.testing.assert_array_equal, same, state)


@each_kind
def test_gradients_are_those_of_the_whole_set(x64, kind):
    """Two chunks with a hole, against finite differences; holes with NaN get exactly zero."""
    features, logits = draw(5, 6)
    mask, slope = np.array([True, True, False, True, False, True]), np.random.default_rng(0).normal(size=EVENT)

    @jax.jit
    @jax.grad
    def gradient(features_and_logits):
        features, logits = features_and_logits
        state = set_statistics.init(kind, EVENT, num_heads=HEADS)
        for part in (slice(0, 3), slice(3, 6)):
            given = logits[:, part] if kind == "learned_query" else None
            state = set_statistics.update(state, features[part], jnp.asarray(mask[part]), given)
        return (set_statistics.finalize(state) * slope).sum()

    def value(features, logits):
        return (whole(kind, features[mask], logits[:, mask]) * slope).sum()

    holes = np.where(mask[:, None, None], features, np.nan), np.where(mask, logits, np.nan)
    found = gradient(tuple(map(jnp.asarray, holes)))
    for which, array in enumerate((features, logits)):
        numeric = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            moved = []
            for step in (1e-6, -1e-6):
                arrays = [features.copy(), logits.copy()]
                arrays[which][index] += step
                moved.append(value(*arrays))
            numeric[index] = (moved[0] - moved[1]) / 2e-6
        np.testing.assert_allclose(found[which], numeric, atol=1e-8)
    np.testing.assert_array_equal(found[0][~mask], 0.0)
    np.testing.assert_array_equal(found[1][:, ~mask], 0.0)


def test_whole_sets_at_once_equal_their_states():
    features, _ = draw(6, 70, dtype=np.float32)
    mask = np.random.default_rng(0).random(70) < 0.8
    features = jnp.where(mask[:, None, None], features, jnp.nan)
    for kind, function in (("mean", set_statistics.masked_mean), ("max", set_statistics.masked_max)):
        expected = finalize(state_of(kind, features, None, mask))
        np.testing.assert_allclose(function(features, jnp.asarray(mask)), expected, rtol=1e-6)


def test_kinds_without_a_state_and_shapes_that_do_not_fit_are_errors():
    with pytest.raises(ValueError, match="query depends on the mean of all elements. Keep the elements"):
        set_statistics.init("attention", EVENT)
    with pytest.raises(ValueError, match="kind: expected one of .* got 'median'"):
        set_statistics.init("median", EVENT)
    with pytest.raises(ValueError, match="num_heads: expected a divisor of the 4 channels, got 3"):
        set_statistics.init("learned_query", EVENT, num_heads=3)
    with pytest.raises(ValueError, match="a, b: expected states of one kind, got MeanState and MaxState"):
        set_statistics.merge(set_statistics.init("mean", EVENT), set_statistics.init("max", EVENT))
    state, mask = set_statistics.init("learned_query", EVENT, (2,), HEADS), jnp.ones((2, 5), bool)
    with pytest.raises(ValueError, match=r"features: expected \[2, set, 3, 4\] and a mask without the last 2 axes"):
        set_statistics.update(state, jnp.zeros((2, *EVENT)), jnp.ones(2, bool))
    with pytest.raises(ValueError, match=r"logits: expected \(2, 2, 5\), got None"):
        set_statistics.update(state, jnp.zeros((2, 5, *EVENT)), mask)
    with pytest.raises(ValueError, match="features: expected .2, 5. as the mask and then the shape of an element"):
        set_statistics.masked_mean(jnp.zeros((2, 6, *EVENT)), mask)


def test_states_are_what_their_names_say():
    features, logits = draw(7, 5, dtype=np.float32)
    mean, largest, attention = (state_of(kind, features, logits) for kind in set_statistics.STATES)
    assert (type(mean), type(largest), type(attention)) == (MeanState, MaxState, AttentionState)
    np.testing.assert_allclose(mean.total.value, features.sum(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(largest.maximum, features.max(axis=0))
    np.testing.assert_array_equal(attention.maximum, np.ceil(logits.max(axis=1)))
    np.testing.assert_allclose(
        attention.normalizer.value, np.exp(logits - attention.maximum[:, None]).sum(1), rtol=1e-6
    )

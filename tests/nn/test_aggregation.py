"""Aggregates of sets against NumPy with explicit keys and values, and what masks and memory promise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core import set_statistics
from exflow.nn.aggregation import KINDS, SetAggregator

ATTENTION = ("attention", "learned_query")
SHAPES = {"vectors": (4, 5, 8), "maps": (4, 5, 2, 3, 8), "two batch axes": (2, 4, 5, 8)}
MASK = np.array([[True, False, True, True, False], [False] * 5, [True] * 5, [False, False, False, True, False]])

each_kind = pytest.mark.parametrize("kind", KINDS)
each_attention = pytest.mark.parametrize("kind", ATTENTION)


def aggregator(kind, shape, dtype=None):
    """Module and random parameters, whose query is not zero."""
    module = SetAggregator(kind)
    params = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros(shape), jnp.ones(shape[:2], bool))
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(1)
    return module, jax.tree.unflatten(tree, [jnp.asarray(rng.normal(size=leaf.shape), dtype) for leaf in leaves])


def draw(shape, seed=2):
    """Features and mask; two batch axes share the mask's rows."""
    features = np.random.default_rng(seed).normal(size=shape)
    mask = MASK if len(shape) != 4 else np.stack([MASK, MASK[::-1]])
    return features, mask


@functools.cache
def compiled(kind):
    return jax.jit(SetAggregator(kind).apply)


def run(module, params, features, mask):
    """Aggregate and weights, compiled as one."""
    return compiled(module.kind)(params, features, mask)


def with_holes(features, mask, value):
    return np.where(mask.reshape(*mask.shape, *(1,) * (features.ndim - mask.ndim)), features, value)


def one_set(kind, params, elements, xp=np, num_heads=4):
    """Aggregate and weights of the elements of one set, [set, ..., channels], with keys and values written out."""
    if kind == "mean":
        return elements.mean(axis=0), None
    if kind == "max":
        return elements.max(axis=0), None
    params = params["params"]

    def project(name, x):
        layer = params[name]
        return xp.tensordot(x, layer["kernel"], 1) + layer["bias"].reshape((1,) * (x.ndim - 1) + (-1,))

    keys, values = project("key", elements), project("value", elements)
    if kind == "attention":
        query = project("query", elements.mean(axis=0))
    else:
        query = xp.broadcast_to(params["query"], keys.shape[1:])
    size = elements.shape[-1] // num_heads
    outs, weights = [], []
    for head in range(num_heads):
        part = slice(head * size, (head + 1) * size)
        products = (keys[..., part] * query[None, ..., part]).reshape(len(elements), -1)
        logits = products.sum(axis=1) / np.sqrt(products.shape[1])
        exponentials = xp.exp(logits - logits.max())
        weights.append(exponentials / exponentials.sum())
        outs.append(xp.tensordot(weights[-1], values[..., part], 1))
    return xp.concatenate(outs, axis=-1), xp.stack(weights)


@each_kind
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_ragged_sets_with_nan_in_the_holes_equal_numpy(x64, kind, shape):
    module, params = aggregator(kind, shape)
    features, mask = draw(shape)
    out, weights = run(module, params, with_holes(features, mask, np.nan), mask)
    assert out.shape == (*mask.shape[:-1], *shape[mask.ndim :])
    assert (weights is None) == (kind not in ATTENTION)
    for index in np.ndindex(mask.shape[:-1]):
        present = mask[index]
        if not present.any():
            np.testing.assert_array_equal(out[index], np.zeros(out[index].shape))
            continue
        expected, expected_weights = one_set(kind, jax.tree.map(np.asarray, params), features[index][present])
        np.testing.assert_allclose(out[index], expected, rtol=1e-10, atol=1e-12)
        if weights is not None:
            np.testing.assert_allclose(weights[index][:, present], expected_weights, rtol=1e-10, atol=1e-14)
            np.testing.assert_array_equal(weights[index][:, ~present], 0.0)
            np.testing.assert_allclose(weights[index].sum(axis=-1), 1.0, rtol=1e-12)


@each_kind
def test_float32(kind):
    module, params = aggregator(kind, SHAPES["maps"])
    features, mask = draw(SHAPES["maps"])
    out, _ = run(module, params, features.astype(np.float32), mask)
    assert out.dtype == jnp.float32
    exact = jax.tree.map(np.float64, params)
    for index in (0, 2, 3):
        expected, _ = one_set(kind, exact, features[index][mask[index]])
        np.testing.assert_allclose(out[index], expected, atol=1e-5 * np.abs(expected).max())


@each_kind
def test_masked_elements_have_no_influence_and_no_gradient(kind):
    """Whatever they hold: outputs and gradients of everything else are equal to the bit."""
    module, params = aggregator(kind, SHAPES["maps"])
    features, mask = draw(SHAPES["maps"])

    def loss(params, features):
        out, weights = module.apply(params, features, jnp.asarray(mask))
        return jnp.sin(out).sum(), (out, weights)

    value_and_gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    results = [
        value_and_gradients(params, np.float32(with_holes(features, mask, value)))
        for value in (0.0, np.nan, np.inf, -1e30)
    ]
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, other, results[0])
    features_gradient = results[0][1][1]
    np.testing.assert_array_equal(features_gradient[~mask], 0.0)
    assert (features_gradient[mask] != 0).any()


@each_kind
def test_empty_sets_have_zero_gradients_for_everything(kind):
    module, params = aggregator(kind, SHAPES["vectors"])
    features = jnp.full(SHAPES["vectors"], jnp.nan)

    def loss(params, features):
        out, weights = module.apply(params, features, jnp.zeros(features.shape[:2], bool))
        return out.sum() + (0.0 if weights is None else weights.sum())

    value, gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(params, features)
    assert value == 0
    for leaf in jax.tree.leaves(gradients):
        np.testing.assert_array_equal(leaf, np.zeros(leaf.shape))
    out, _ = run(module, params, features[:, :0], jnp.zeros((4, 0), bool))  # no place is kept for elements either
    np.testing.assert_array_equal(out, np.zeros((4, 8)))


@each_attention
def test_gradients_are_those_of_explicit_keys_and_values(x64, kind):
    module, params = aggregator(kind, SHAPES["maps"])
    features, _ = draw(SHAPES["maps"])
    mask = jnp.ones(features.shape[:2], bool)

    @jax.jit
    def gradients(params, features):
        found = jax.grad(lambda *args: jnp.sin(module.apply(*args, mask)[0]).sum(), argnums=(0, 1))(params, features)
        explicit = jax.vmap(lambda params, elements: one_set(kind, params, elements, jnp)[0], in_axes=(None, 0))
        return found, jax.grad(lambda *args: jnp.sin(explicit(*args)).sum(), argnums=(0, 1))(params, features)

    found, expected = gradients(params, features)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), found, expected)
    np.testing.assert_array_equal(found[0]["params"]["key"]["bias"], 0.0)


@each_kind
def test_order_does_not_matter(x64, kind):
    module, params = aggregator(kind, SHAPES["maps"])
    features, mask = draw(SHAPES["maps"])
    order = np.random.default_rng(0).permutation(features.shape[1])
    out, weights = run(module, params, features, mask)
    permuted_out, permuted_weights = run(module, params, features[:, order], mask[:, order])
    np.testing.assert_allclose(permuted_out, out, rtol=1e-11, atol=1e-12)
    if weights is not None:
        np.testing.assert_allclose(permuted_weights, weights[..., order], rtol=1e-11, atol=1e-14)


@each_attention
def test_without_a_query_attention_is_the_mean_of_values_and_one_element_gives_its_own(x64, kind):
    module, params = aggregator(kind, SHAPES["vectors"])
    features, mask = draw(SHAPES["vectors"])
    value = params["params"]["value"]
    values = features @ np.asarray(value["kernel"]) + np.asarray(value["bias"])
    out, _ = run(module, params, features, mask)
    np.testing.assert_allclose(out[3], values[3, 3], rtol=1e-12)
    of_one = jax.grad(lambda params: module.apply(params, jnp.asarray(features[3:]), jnp.asarray(mask[3:]))[0].sum())
    for leaf in jax.tree.leaves(jax.jit(of_one)(params)["params"]["query"]):
        np.testing.assert_array_equal(leaf, np.zeros(leaf.shape))
    params["params"]["query"] = jax.tree.map(jnp.zeros_like, params["params"]["query"])
    out, weights = run(module, params, features, mask)
    for row in (0, 2, 3):
        np.testing.assert_allclose(out[row], values[row, mask[row]].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(weights[0], np.tile(mask[0] / 3, (4, 1)), rtol=1e-12)


@each_attention
def test_large_features_neither_overflow_nor_give_nan(kind):
    module, params = aggregator(kind, SHAPES["vectors"])
    features, mask = draw(SHAPES["vectors"])
    out, weights = run(module, params, np.float32(1e6 * features), mask)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(weights.max(axis=-1), np.tile(mask.any(axis=1)[:, None], (1, 4)))


@pytest.mark.parametrize("kind", set_statistics.STATES)
def test_a_streamed_set_gives_the_aggregate_of_the_whole_set(x64, kind):
    module, params = aggregator(kind, SHAPES["maps"])
    features, mask = draw(SHAPES["maps"])
    expected, _ = run(module, params, features, mask)
    features = with_holes(features, mask, np.nan)

    update_state = jax.jit(lambda *args: module.apply(params, *args, method="update_state"))

    def update(state, part):
        return update_state(state, features[:, part], mask[:, part])

    start = set_statistics.init(kind, features.shape[2:], (4,), module.num_heads)
    one_by_one = start
    for index in (3, 0, 4, 2, 1):
        one_by_one = update(one_by_one, slice(index, index + 1))
    two_parts = jax.jit(set_statistics.merge)(update(start, slice(0, 2)), update(start, slice(2, 5)))
    finalize = jax.jit(set_statistics.finalize)
    for state in (one_by_one, two_parts):
        np.testing.assert_allclose(finalize(state), expected, rtol=1e-10, atol=1e-12)


def largest_intermediate(jaxpr):
    """Entries of the largest array that a computation names, inner computations included."""
    largest = 0
    for equation in jaxpr.eqns:
        largest = max(largest, *(variable.aval.size for variable in equation.outvars))
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            largest = max(largest, largest_intermediate(inner) if hasattr(inner, "eqns") else 0)
    return largest


@each_kind
def test_memory_is_linear_in_the_set_size(kind):
    """Also of the gradient: nothing holds more than the features, up to the padding of blocks of a sum."""
    set_size, channels = 1000, 8
    module, params = aggregator(kind, (1, 3, channels))
    features, mask = jnp.zeros((1, set_size, channels)), jnp.ones((1, set_size), bool)
    gradient = jax.grad(lambda params, features: module.apply(params, features, mask)[0].sum(), argnums=(0, 1))
    assert largest_intermediate(jax.make_jaxpr(gradient)(params, features).jaxpr) <= 1.1 * set_size * channels


def test_parameters_are_three_square_layers():
    shape = (1, 2, 4, 4, 128)
    features, mask = jnp.zeros(shape), jnp.ones(shape[:2], bool)
    shapes = {
        kind: jax.eval_shape(SetAggregator(kind).init, jax.random.key(0), features, mask).get("params", {})
        for kind in KINDS
    }
    square = {"kernel": (128, 128), "bias": (128,)}
    assert shapes["mean"] == shapes["max"] == {}
    assert jax.tree.map(jnp.shape, shapes["attention"]) == {"query": square, "key": square, "value": square}
    assert jax.tree.map(jnp.shape, shapes["learned_query"]) == {"query": (128,), "key": square, "value": square}
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["attention"])) == 49_536


def test_initial_values_follow_the_initialization():
    features, mask = jnp.ones((1, 2, 16)), jnp.ones((1, 2), bool)
    options = {"uniform_fan_in": 0.25, "uniform_fan_in_zero_bias": 0.0}
    for initialization, largest_bias in options.items():
        module = SetAggregator("attention", initialization=initialization)
        params = jax.jit(module.init)(jax.random.key(0), features, mask)
        for layer in params["params"].values():
            assert 0.2 < jnp.abs(layer["kernel"]).max() <= 0.25
            assert jnp.abs(layer["bias"]).max() <= largest_bias


def test_wrong_settings_and_shapes_are_errors():
    def init(kind, features=(2, 3, 8), mask=(2, 3), **options):
        module = SetAggregator(kind, **options)
        return module.init(jax.random.key(0), jnp.zeros(features), jnp.ones(mask, bool))

    with pytest.raises(ValueError, match="kind: expected one of .* got 'median'"):
        init("median")
    with pytest.raises(ValueError, match="num_heads: expected a divisor of the 10 channels, got 4"):
        init("attention", features=(2, 3, 10))
    with pytest.raises(ValueError, match="num_heads: expected a divisor of the 8 channels, got 0"):
        init("learned_query", num_heads=0)
    for features, mask in (((2, 3, 8), (3, 2)), ((2, 3), (2, 3))):
        with pytest.raises(ValueError, match="features: expected .* as the mask and then the shape of an element"):
            init("mean", features, mask)
    module, params = aggregator("attention", SHAPES["vectors"])
    features, mask = map(jnp.asarray, draw(SHAPES["vectors"]))
    for kind, name in (("mean", "MeanState"), ("learned_query", "AttentionState")):
        state = set_statistics.init(kind, (8,), (4,), num_heads=4)
        with pytest.raises(ValueError, match=f"state: expected that of the kind 'attention', got {name}"):
            module.apply(params, state, features, mask, method="update_state")

"""Normalisation over the elements that exist, against numpy on those elements alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.nn.normalization import Normalization, batch_normalize

MASK = np.array([[True, True, False], [True, False, False]])


def features():
    return np.random.default_rng(0).normal(2.0, 3.0, (2, 3, 8))


@functools.partial(jax.jit, static_argnums=(0, 3))
def apply(kind, x, mask, train, variables=None):
    module = Normalization(kind)
    variables = variables or module.init(jax.random.key(0), x, mask, True)
    return module.apply(variables, x, mask, train, mutable=["batch_stats"])


@pytest.mark.parametrize(("kind", "axes", "epsilon"), [("batch", 0, 1e-5), ("global_batch", (0, 1), 1e-3)])
def test_training_uses_the_moments_of_the_elements_that_exist(x64, kind, axes, epsilon):
    x = features()
    out, _ = apply(kind, x, jnp.asarray(MASK), True)
    rows = x[MASK]
    expected = (rows - rows.mean(axes)) / np.sqrt(rows.var(axes) + epsilon)
    np.testing.assert_allclose(out[MASK], expected, rtol=1e-6)


@pytest.mark.parametrize(("kind", "axes", "step"), [("batch", 0, 0.1), ("global_batch", (0, 1), 0.01)])
def test_running_averages_move_by_a_fraction_of_the_batch(x64, kind, axes, step):
    x = features()
    _, updated = apply(kind, x, jnp.asarray(MASK), True)
    rows, statistics = x[MASK], updated["batch_stats"]
    np.testing.assert_allclose(statistics["mean"], step * rows.mean(axes), rtol=1e-6)
    np.testing.assert_allclose(statistics["variance"], 1 - step + step * rows.var(axes, ddof=1), rtol=1e-6)


@pytest.mark.parametrize("kind", ["batch", "global_batch"])
def test_evaluation_uses_the_running_averages(x64, kind):
    x = features()
    variables = jax.jit(lambda x: Normalization(kind).init(jax.random.key(0), x, None, True))(x)
    out, updated = apply(kind, x, None, False, variables)
    epsilon = {"batch": 1e-5, "global_batch": 1e-3}[kind]
    np.testing.assert_allclose(out, x / np.sqrt(1 + epsilon), rtol=1e-6)  # mean 0 and variance 1 at the start
    jax.tree.map(np.testing.assert_array_equal, updated["batch_stats"], variables["batch_stats"])


@pytest.mark.parametrize("kind", ["batch", "global_batch"])
@pytest.mark.parametrize("filling", [0.0, 1e6, np.nan])
def test_padding_changes_nothing(x64, kind, filling):
    x = features()
    filled = np.where(MASK[..., None], x, filling)

    @jax.jit
    def total(x):
        out, _ = apply(kind, x, jnp.asarray(MASK), True)
        return jnp.where(jnp.asarray(MASK)[..., None], out, 0.0)[..., 0].sum() ** 2

    np.testing.assert_allclose(total(jnp.asarray(filled)), total(jnp.asarray(x)), rtol=1e-12)
    np.testing.assert_array_equal(jax.jit(jax.grad(total))(jnp.asarray(filled))[~MASK], 0.0)


def test_groups_do_not_depend_on_the_batch(x64):
    x = features()
    whole, _ = apply("group", x, None, True)
    alone, _ = apply("group", x[1:], None, True)
    np.testing.assert_allclose(whole[1:], alone, rtol=1e-12)


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind: expected one of"):
        apply("layer", features(), None, True)


@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 1, 2, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_gradient_is_that_of_the_moments(x64, axes, masked):
    rng, mask = np.random.default_rng(3), jnp.asarray(MASK) if masked else None
    x, dy = rng.normal(1.0, 2.0, (2, 3, 4, 5)), rng.normal(size=(2, 3, 4, 5))
    gain, bias = (rng.normal(size=(1, 1, 1, 5 if len(axes) == 3 else 1)) for _ in range(2))
    weight = jnp.broadcast_to((np.ones((2, 3)) if mask is None else mask)[..., None, None], x.shape)

    def plainly(x, gain, bias):
        count = weight.sum(axes, keepdims=True)
        mean = (weight * x).sum(axes, keepdims=True) / count
        variance = (weight * (x - mean) ** 2).sum(axes, keepdims=True) / count
        return (x - mean) / jnp.sqrt(variance + 1e-3) * gain + bias

    @jax.jit
    def both(*inputs):
        written = jax.vjp(lambda *values: batch_normalize(*values, mask, axes, 1e-3)[0], *inputs)
        return [(out, pull(jnp.asarray(dy))) for out, pull in (written, jax.vjp(plainly, *inputs))]

    actual, expected = both(x, gain, bias)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-12), actual, expected)

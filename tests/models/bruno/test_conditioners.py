"""The conditioners: one set of parameters for every way of running the blocks, and equal gradients."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.models.bruno.conditioners import LEAST_ROWS, ConvConditioner, DenseConditioner
from exflow.nn.network import network


def conv_conditioner(**options):
    return network(ConvConditioner(filters=6, num_blocks=2, **options))


@pytest.fixture
def images():
    return jax.random.normal(jax.random.key(0), (4, 6, 6, 2))


@pytest.mark.slow
def test_blocks_give_the_same_however_they_run(images):
    def value_and_gradient(**options):
        net = conv_conditioner(**options)
        params = jax.jit(net.init)(jax.random.key(1), images)
        params["heads"] = jax.tree.map(lambda leaf: leaf + 0.1, params["heads"])

        def total(params):
            log_scale, shift = net.apply(params, images)
            return (log_scale * jnp.cos(shift)).mean()

        return jax.jit(jax.value_and_grad(total))(params)

    expected = value_and_gradient(block_loop="unroll", gradient="plain")
    assert np.isfinite(expected[0])
    assert expected[0] != 0
    for options in (
        {"block_loop": "scan", "gradient": "plain"},
        {"block_loop": "scan", "gradient": "forward"},
        {"block_loop": "unroll", "gradient": "matmul"},
        {"block_loop": "unroll", "gradient": "matmul", "remat": True},
    ):
        chex.assert_trees_all_close(value_and_gradient(**options), expected, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("dense", [False, True])
def test_heads_start_at_zero(images, dense):
    x = images.reshape(4, -1) if dense else images
    net = network(DenseConditioner(8)) if dense else conv_conditioner()
    log_scale, shift = jax.jit(lambda x: net.apply(net.init(jax.random.key(1), x), x))(x)
    np.testing.assert_array_equal(log_scale, np.zeros(x.shape))
    np.testing.assert_array_equal(shift, np.zeros(x.shape))


@pytest.mark.parametrize("dense", [False, True])
def test_several_outputs_per_entry_start_at_zero_too(images, dense):
    x = images.reshape(4, -1) if dense else images
    options = {"outputs_per_entry": 5, "compute_dtype": jnp.bfloat16}
    net = network(DenseConditioner(8, **options)) if dense else conv_conditioner(**options)
    raw = jax.jit(lambda x: net.apply(net.init(jax.random.key(1), x), x))(x)
    assert raw.dtype == jnp.float32
    np.testing.assert_array_equal(raw, np.zeros((*x.shape, 5)))


def test_bfloat16_keeps_parameters_and_outputs_in_float32(images):
    net = conv_conditioner(compute_dtype=jnp.bfloat16)
    params = jax.jit(net.init)(jax.random.key(1), images)
    chex.assert_trees_all_equal_dtypes(params, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params))
    params["heads"] = jax.tree.map(lambda leaf: leaf + 0.1, params["heads"])
    outputs, reference = (jax.jit(one.apply)(params, images) for one in (net, conv_conditioner()))
    for output, exact in zip(outputs, reference, strict=True):
        assert output.dtype == jnp.float32
        np.testing.assert_allclose(output, exact, rtol=0.05, atol=0.05)


def test_unknown_block_loop_is_an_error(images):
    with pytest.raises(ValueError, match="block_loop: expected one of"):
        conv_conditioner(block_loop="while").init(jax.random.key(0), images)


def test_bfloat16_products_change_a_dense_conditioner_by_rounding_only():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 16)), jnp.float32)
    exact, rounding = (DenseConditioner(units=8, bfloat16_products=option) for option in (False, True))
    params = jax.tree.map(lambda leaf: leaf + 0.1, jax.jit(exact.init)(jax.random.key(0), x))
    for expected, value in zip(*(jax.jit(net.apply)(params, x) for net in (exact, rounding)), strict=True):
        assert value.dtype == jnp.float32
        assert float(jnp.abs(value - expected).max()) > 0
        np.testing.assert_allclose(value, expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("passing", [0, 1])
@pytest.mark.parametrize("options", [{}, {"outputs_per_entry": 5, "bounded_features": True}])
def test_half_of_a_dense_conditioner_is_all_that_counts(x64, passing, options):
    rng = np.random.default_rng(0)
    x = np.where(np.arange(12) % 2 == passing, rng.normal(size=(LEAST_ROWS, 12)), 0.0)
    whole, half = (network(DenseConditioner(units=8, passing=one, **options)) for one in (None, passing))

    shapes = jax.eval_shape(whole.init, jax.random.key(0), x)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes)

    def loss(net, params, x):
        outputs = (leaf.reshape(*x.shape, -1)[:, 1 - passing :: 2] for leaf in jax.tree.leaves(net.apply(params, x)))
        return sum(jnp.sin(leaf).sum() for leaf in outputs)

    @jax.jit
    def both(params, x):
        return [jax.value_and_grad(functools.partial(loss, net), (0, 1))(params, x) for net in (whole, half)]

    (expected, (gradients, x_gradient)), (found, (half_gradients, half_x_gradient)) = both(params, x)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    chex.assert_trees_all_close(half_gradients, gradients, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(half_x_gradient[:, passing::2], x_gradient[:, passing::2], rtol=1e-9, atol=1e-12)

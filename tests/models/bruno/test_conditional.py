"""Conditional conditioners: what both modes compute at initialisation, and that the context matters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.models.bruno.conditional import (
    ConditionalConvConditioner,
    ConditionalDenseConditioner,
    ContextEmbedding,
    SummedContext,
)
from exflow.nn.network import network
from exflow.typing import Network

pytestmark = pytest.mark.slow  # many compilations


def conditioner(dense, **options):
    conv_options = {"filters": 6, "num_blocks": 2} | options
    net = network(ConditionalDenseConditioner(8, **options) if dense else ConditionalConvConditioner(**conv_options))
    return Network(jax.jit(net.init), jax.jit(net.apply))


@pytest.fixture
def images():
    return jax.random.normal(jax.random.key(0), (16, 4, 4, 2))


@pytest.fixture
def features():
    return jax.random.normal(jax.random.key(1), (16, 5))


def test_embedding_is_a_leaky_relu_of_an_orthogonal_layer():
    context = jax.random.normal(jax.random.key(0), (7, 2))
    net = network(ContextEmbedding())
    params = net.init(jax.random.key(1), context)
    kernel = np.asarray(params["dense"]["kernel"])
    assert kernel.shape == (2, 32)
    np.testing.assert_allclose(kernel @ kernel.T, np.eye(2), atol=1e-6)
    linear = np.asarray(context) @ kernel + np.asarray(params["dense"]["bias"])
    np.testing.assert_allclose(net.apply(params, context), np.where(linear > 0, linear, 0.2 * linear), atol=1e-6)


@pytest.mark.parametrize("dense", [False, True])
def test_clean_heads_start_at_zero_and_original_ones_do_not(images, features, dense):
    x = images.reshape(16, -1) if dense else images
    for conditioning in ("clean", "original"):
        net = conditioner(dense, conditioning=conditioning)
        outputs = net.apply(net.init(jax.random.key(2), x, features), x, features)
        for output in outputs:
            assert output.shape == x.shape
            assert np.any(output != 0) == (conditioning == "original")


@pytest.mark.parametrize("conditioning", ["clean", "original"])
@pytest.mark.parametrize("dense", [False, True])
def test_every_part_sees_the_context(images, features, dense, conditioning):
    x = images.reshape(16, -1) if dense else images
    net = conditioner(dense, conditioning=conditioning)
    params = net.init(jax.random.key(2), x, features)
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)  # heads that are not zero

    def total(params):
        log_scale, shift = net.apply(params, x, features)
        return (jnp.sin(log_scale) * jnp.cos(shift)).sum()

    gradients = jax.jit(jax.grad(total))(params)
    frozen = 0
    for path, gradient in jax.tree.leaves_with_path(gradients):
        is_frozen = path[-1].key == "frozen_bias"
        assert np.any(gradient != 0) != is_frozen, path
        frozen += gradient.size if is_frozen else 0
    assert frozen == (6 * 5 if conditioning == "original" and not dense else 0)


def test_sum_of_two_normalised_layers(images, features):
    """Each part has unit variance on the first batch, and the same label stands at every position."""
    layer = SummedContext(4, (3, 3), {"initialization": "sequential"}, frozen_bias=True)
    handed_on, variables = layer.init_with_output(jax.random.key(0), images, features)
    params = variables["params"]
    output = layer.apply(variables, images, features)
    np.testing.assert_allclose(handed_on, output, atol=1e-4)
    silent = jax.tree.map(jnp.zeros_like, params["context"])
    alone = layer.apply(
        {"params": {**params, "context": {**silent, "direction": params["context"]["direction"]}}}, images, features
    )
    label = np.asarray(output - alone)
    np.testing.assert_allclose(label, np.broadcast_to(label[:, :1, :1], label.shape), atol=1e-5)
    np.testing.assert_allclose(label[:, 0, 0].std(axis=0), 1.0, rtol=1e-3)
    np.testing.assert_allclose(np.asarray(alone).std(axis=(0, 1, 2)), 1.0, rtol=1e-3)


def test_blocks_give_the_same_however_they_run(images, features):
    def outputs(**options):
        net = conditioner(False, conditioning="original", **options)
        return net.apply(net.init(jax.random.key(2), images, features), images, features)

    expected = outputs(block_loop="unroll")
    for options in ({"block_loop": "scan"}, {"block_loop": "scan", "remat": True}):
        for output, value in zip(outputs(**options), expected, strict=True):
            np.testing.assert_allclose(output, value, rtol=1e-4, atol=1e-5)


def test_bfloat16_and_bounded_features(images, features):
    options = {"conditioning": "original", "bounded_features": True, "compute_dtype": jnp.bfloat16}
    for dense in (False, True):
        x = images.reshape(16, -1) if dense else images
        net = conditioner(dense, **options) if dense else conditioner(dense, num_blocks=0, **options)
        params = net.init(jax.random.key(2), x, features)
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}
        assert all(output.dtype == jnp.float32 for output in net.apply(params, x, features))


def test_unknown_conditioning_is_an_error(images, features):
    with pytest.raises(ValueError, match="conditioning: expected one of"):
        conditioner(False, conditioning="film").init(jax.random.key(0), images, features)

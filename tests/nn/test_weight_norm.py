"""Weight normalisation and its data-dependent initialisation against a plain numpy computation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.nn.network import network
from exflow.nn.weight_norm import WeightNorm, folded


def initialised(initialization, seed=0):
    x = jnp.asarray(np.random.default_rng(seed).normal(3.0, 2.0, (64, 7)))
    module = WeightNorm(5, initialization=initialization)
    handed_on, variables = jax.jit(module.init_with_output)(jax.random.key(1), x)
    return module, x, handed_on, variables["params"]


@pytest.mark.parametrize("initialization", ["original", "sequential"])
def test_first_batch_has_zero_mean_and_unit_variance(x64, initialization):
    module, x, _, params = initialised(initialization)
    output = np.asarray(jax.jit(module.apply)({"params": params}, x))
    np.testing.assert_allclose(output.mean(axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose(output.std(axis=0), 1.0, rtol=1e-6)


def test_the_two_modes_differ_in_what_they_hand_on(x64):
    _, x, original, params = initialised("original")
    direction = np.asarray(params["direction"], np.float64)
    pre_activation = np.asarray(x) @ (direction / np.linalg.norm(direction, axis=0))
    np.testing.assert_allclose(original, pre_activation, rtol=1e-6)
    module, x, sequential, params = initialised("sequential")
    np.testing.assert_allclose(sequential, jax.jit(module.apply)({"params": params}, x), rtol=1e-6, atol=1e-6)


def test_kernel_is_scaled_direction_of_unit_norm(x64):
    module = WeightNorm(4, (3, 3))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 6, 3)))
    params = jax.device_get(jax.jit(module.init)(jax.random.key(1), x)["params"])
    apply = jax.jit(lambda params: module.apply({"params": params}, x))
    doubled = {**params, "direction": 2 * params["direction"]}
    np.testing.assert_allclose(apply(doubled), apply(params), rtol=1e-9)
    louder = {**params, "scale": 2 * params["scale"], "bias": 2 * params["bias"]}
    np.testing.assert_allclose(apply(louder), 2 * np.asarray(apply(params)), rtol=1e-6)


@pytest.mark.parametrize("kernel_shape", [(), (3, 3)])
@pytest.mark.parametrize("frozen_bias", [False, True])
def test_folded_layers_are_the_same_layers(x64, kernel_shape, frozen_bias):
    rng, module = np.random.default_rng(0), WeightNorm(4, kernel_shape, frozen_bias=frozen_bias)
    x = jnp.asarray(rng.normal(size=(2, 5, 5, 3)))
    name = "frozen_bias" if frozen_bias else "bias"
    shapes = {"direction": (*kernel_shape, 3, 4), "scale": (4,), name: (4,)}
    params = {key: jnp.asarray(rng.normal(size=shape)) for key, shape in shapes.items()}
    plain = folded({"layers": (params, ()), "scale": 2.0})
    assert plain["scale"] == 2.0
    direction, scale = (np.asarray(params[key]) for key in ("direction", "scale"))
    direction = direction.reshape(-1, 4)
    expected = (direction / np.linalg.norm(direction, axis=0) * scale).reshape(shapes["direction"])
    np.testing.assert_allclose(plain["layers"][0]["kernel"], expected, rtol=1e-9)
    outputs = [jax.jit(module.apply)({"params": each}, x) for each in (params, plain["layers"][0])]
    np.testing.assert_allclose(*outputs, rtol=1e-12, atol=1e-12)
    stacked = folded(jax.tree.map(lambda leaf: np.stack([leaf, 2 * leaf]), params))
    for at, times in enumerate((1, 2)):
        one = folded(jax.tree.map(lambda leaf, times=times: times * leaf, params))
        for key, leaf in one.items():
            np.testing.assert_allclose(stacked[key][at], leaf, rtol=1e-12)


def test_without_normalisation_the_kernel_is_orthogonal():
    net = network(WeightNorm(6, normalize=False))
    params = jax.device_get(jax.jit(net.init)(jax.random.key(0), np.ones((2, 9), np.float32)))
    np.testing.assert_allclose(params["kernel"].T @ params["kernel"], np.eye(6), atol=1e-5)
    np.testing.assert_array_equal(params["bias"], np.float32(0.01))


def test_unknown_initialization_is_an_error():
    with pytest.raises(ValueError, match="initialization: expected one of"):
        WeightNorm(2, initialization="lsuv").init(jax.random.key(0), jnp.ones((2, 3)))

"""Encoder and decoder against loops in NumPy, with running averages and with the moments of a batch that has holes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.config import base_config
from exflow.errors import UserError
from exflow.models.lbae.networks.autoencoder import Autoencoder
from exflow.models.lbae.networks.plan import plan

RNG = np.random.default_rng(0)
SHAPE = (8, 8, 2)
MASK = np.array([True, True, False, True])
VALUES = RNG.uniform(size=(4, *SHAPE))


def small_plan(**changes):
    options = base_config("lbae").model.lbae
    sizes = {"latent_dim": 5, "encoder_channels": (3, 4), "decoder_channels": (4, 3), "decoder_input_channels": 2}
    options.update(sizes | changes)
    return plan(options, SHAPE, "float32")


def convolved(x, kernel, stride):
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    size, side = len(kernel), (x.shape[1] + 2 - len(kernel)) // stride + 1
    out = np.zeros((len(x), side, side, kernel.shape[3]))
    for row in range(side):
        for column in range(side):
            window = padded[:, row * stride : row * stride + size, column * stride : column * stride + size]
            out[:, row, column] = np.einsum("bhwi,hwio->bo", window, kernel)
    return out


def transposed(x, kernel):
    """Every input pixel adds its kernel [4, 4, out, in] to the output, two pixels from its neighbour's."""
    side = x.shape[1]
    out = np.zeros((len(x), 2 * side + 2, 2 * side + 2, kernel.shape[2]))
    for row in range(side):
        for column in range(side):
            out[:, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4] += np.einsum(
                "bi,hwoi->bhwo", x[:, row, column], kernel
            )
    return out[:, 1:-1, 1:-1]


class Reference:
    """The specified networks with the parameters of the module."""

    def __init__(self, variables, train):
        self.params, self.averages, self.train = variables["params"], variables["batch_stats"], train

    def normalized(self, u, params, averages):
        own = params["Normalization_0"]
        if self.train:
            seen = u[MASK].reshape(-1, u.shape[-1])
            mean, variance = seen.mean(axis=0), seen.var(axis=0)
        else:
            mean, variance = averages["Normalization_0"]["mean"], averages["Normalization_0"]["variance"]
        return (u - mean) / np.sqrt(variance + 1e-5) * own["gain"] + own["bias"]

    def layer(self, x, params, averages, kind):
        kernel = params["Convolution_0"]["kernel"]
        u = transposed(x, kernel) if kind == "up" else convolved(x, kernel, 2 if kind == "down" else 1)
        return self.normalized(u, params, averages)

    def block(self, u, params, averages):
        inner = act(self.layer(act(u), params["Normalized_0"], averages["Normalized_0"], ""))
        return act(self.layer(inner, params["Normalized_1"], averages["Normalized_1"], "") + u)

    def encoder(self, values):
        params, averages = self.params["encoder"], self.averages["encoder"]
        x = act(self.layer(values, params["Normalized_0"], averages["Normalized_0"], ""))
        u = self.layer(x, params["Normalized_1"], averages["Normalized_1"], "down")
        x = self.block(u, params["PostSumBlock_0"], averages["PostSumBlock_0"])
        x = convolved(x, params["Convolution_0"]["kernel"], 2)
        return x.reshape(len(x), -1) @ params["Linear_0"]["kernel"] + params["Linear_0"]["bias"]

    def decoder(self, code):
        params, averages = self.params["decoder"], self.averages["decoder"]
        x = (code @ params["Linear_0"]["kernel"] + params["Linear_0"]["bias"]).reshape(len(code), 2, 2, 2)
        u = self.layer(x, params["Normalized_0"], averages["Normalized_0"], "up")
        x = self.block(u, params["PostSumBlock_0"], averages["PostSumBlock_0"])
        x = act(self.layer(x, params["Normalized_1"], averages["Normalized_1"], "up"))
        return convolved(x, params["Convolution_0"]["kernel"], 1)


def act(x):
    return np.where(x > 0, x, 0.02 * x)


@pytest.fixture(scope="module")
def network():
    """The module with random parameters and averages, float64."""
    module = Autoencoder(small_plan())
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.asarray(VALUES, jnp.float32), None, None, True))
    return module, jax.tree.map(lambda leaf: RNG.uniform(0.2, 1.0, leaf.shape) * RNG.choice([1, -1]), shapes)


@pytest.mark.parametrize("train", [False, True])
def test_values(network, train):
    module, variables = network
    variables["batch_stats"] = jax.tree.map(np.abs, variables["batch_stats"])
    reference = Reference(variables, train)
    heads = reference.encoder(VALUES)
    bits = np.where(heads >= 0, 1.0, -1.0)
    with jax.enable_x64(True):
        given = jax.tree.map(jnp.asarray, variables)
        found, _ = module.apply(given, jnp.asarray(VALUES), jnp.asarray(MASK), None, train, mutable=["batch_stats"])
    outputs, coded = found
    np.testing.assert_allclose(coded.soft[MASK], np.tanh(heads[MASK]), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(coded.code[MASK], bits[MASK])
    np.testing.assert_allclose(outputs[MASK], reference.decoder(bits)[MASK], rtol=1e-8)


def test_sizes_that_do_not_fit():
    with pytest.raises(UserError, match="one entry per halving each, got 2 and 3"):
        small_plan(decoder_channels=(4, 4, 4))
    options = base_config("lbae").model.lbae
    with pytest.raises(UserError, match=r"28x28 images cannot be halved 3 times. Use data.image_size=32 \(and"):
        plan(options, (28, 28, 1), "float32")

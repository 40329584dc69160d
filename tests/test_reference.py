"""The PyTorch references of the benchmarks: their losses and gradients are those of exflow on equal parameters."""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.cases import TINY, build_model, configuration, random_batch, random_params
from benchmarks.reference.cases import (
    TINY_CONVOLUTIONAL_MATNET,
    TINY_DENSE_MATNET,
    TINY_LBAE,
    TINY_SET_VAE,
    TINY_STREAM,
)
from exflow.core.likelihoods.likelihood import likelihood
from exflow.core.quantization import dequantize
from exflow.models.bruno import image_flow
from exflow.models.lbae import objective as lbae_objective
from exflow.models.matnet.networks import matnet
from exflow.models.matnet.networks.plan import plan
from exflow.models.matnet.objective import Objective
from exflow.models.matnet.observation import observation

pytestmark = pytest.mark.slow
torch: Any = pytest.importorskip("torch")
convert: ModuleType = pytest.importorskip("benchmarks.reference.convert")

BRUNO = TINY | {"model.bruno.scales": 2}


def loss_and_gradients(model, params, key, batch):
    """Of exflow, as NumPy arrays."""
    loss = jax.jit(jax.value_and_grad(lambda params: model.loss(params, key, batch).value))
    return jax.device_get(loss(params))


def assert_reference_agrees(reference, loss, value, gradients, rtol=1e-9):
    """Compares the value and the gradient of every parameter of the reference."""
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradients))
    loss.backward()
    np.testing.assert_allclose(loss.item(), value, rtol=rtol)
    for name, _ in reference.named_parameters():
        expected = convert.leaf(gradients, name)
        found = convert.gradient(reference, name)
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-3 * rtol * largest, err_msg=name)


@pytest.mark.parametrize(
    ("spec", "overrides"),
    [
        ("bruno_mnist_dense", {"model.bruno.dense_couplings": 3, "data.image_size": 6, "model.bruno.dense_units": 5}),
        ("bruno_omniglot", BRUNO | {"data.image_size": 8}),
        ("bruno_omniglot", BRUNO | {"data.image_size": 8, "model.bruno.scales": 3, "model.bruno.dense_couplings": 2}),
    ],
    ids=["dense", "two scales", "three scales"],
)
def test_bruno_agrees(spec, overrides, x64, monkeypatch):
    from benchmarks.reference.bruno import Bruno

    config = configuration(spec, overrides)
    model, key = build_model(config), jax.random.key(0)
    batch = jax.tree.map(jnp.asarray, random_batch(2, 4, model.image_shape))
    params = jax.tree.map(lambda leaf: leaf.astype(np.float64) * 4, random_params(model, batch))
    params["process"]["mean"] = np.random.default_rng(1).normal(size=params["process"]["mean"].shape)
    pixels = np.asarray(dequantize(jax.random.split(key)[0], batch.x_set), np.float64)
    monkeypatch.setattr(image_flow, "dequantize", lambda noise_key, x: jnp.asarray(pixels))
    value, gradients = loss_and_gradients(model, params, key, batch)
    reference = Bruno(config, model.image_shape).double()
    convert.copy_into(reference, convert.with_couplings(params))
    reference.process.mean.copy_(torch.from_numpy(params["process"]["mean"]))
    loss = reference(torch.from_numpy(pixels))
    assert_reference_agrees(reference, loss, value, convert.with_couplings(gradients))


@pytest.mark.parametrize(
    "spec",
    [
        "neural_statistician_omniglot",
        *(f"set_vae_omniglot:{name}" for name in ("ns", "hfsgm", "cns", "chfsgm_lag", "scha", "scha_lag")),
    ],
)
def test_set_vae_agrees(spec, x64):
    from benchmarks.reference.step import set_vae

    config = configuration(spec, (TINY_STREAM if "scha" in spec else TINY_SET_VAE) | {"objective.alpha": 0.5})
    model, key = build_model(config), jax.random.key(0)
    batch = jax.tree.map(jnp.asarray, random_batch(2, 3, model.image_shape))
    params = jax.tree.map(lambda leaf: leaf.astype(np.float64) * 4, random_params(model, batch))
    value, gradients = loss_and_gradients(model, params, key, batch)
    reference = set_vae(config, model.image_shape).double()
    convert.copy_into(reference, params["networks"])
    loss = reference(*values_and_noise(key, batch), weight=1.5)
    assert_reference_agrees(reference, loss, value, gradients["networks"])


def values_and_noise(key, batch):
    """The binary pixels and the noise of latents that exflow draws with this key."""
    value_key, noise_key = jax.random.split(key)
    values = likelihood("bernoulli").to_values(value_key, batch.x_set)

    def noise(level, stream, shape):
        drawn = jax.random.normal(jax.random.fold_in(noise_key, 2 * level + stream), tuple(shape), np.float64)
        return torch.tensor(np.asarray(drawn))

    return torch.tensor(np.asarray(values, np.float64)), noise


def normals(shape):
    """Numbers that stand for random ones of this shape."""
    return 1.5 * np.sin(1.0 + np.arange(np.prod(shape))).reshape(shape)


@pytest.mark.parametrize(
    ("spec", "overrides"),
    [
        ("matnet_mnist_fc", TINY_DENSE_MATNET | {"objective.annealing_start": 0.3}),
        ("matnet_mnist_conv", TINY_CONVOLUTIONAL_MATNET),
    ],
    ids=["dense, annealed", "convolutional"],
)
def test_matnet_agrees(spec, overrides, x64, monkeypatch):
    from benchmarks.reference.matnet import MatNet, joined

    config = configuration(spec, overrides)
    model, key = build_model(config), jax.random.key(0)
    batch = random_batch(4, 1, model.image_shape)
    with jax.enable_x64(False):
        random = random_params(model, batch)
    params = jax.tree.map(lambda leaf: leaf.astype(np.float64) * 4, random)
    values, options = (batch.x_set >= 128).astype(np.float64), config.model.matnet
    network = matnet.MatNet(plan(options, 1, model.image_shape))
    objective = Objective(network, observation(options, 1), config.objective, model.image_shape)
    in_float64 = model._replace(loss=lambda params, key, batch: objective.of_values(params, key, *batch, step=None))
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype=float: jnp.asarray(normals(shape), dtype))
    value, gradients = loss_and_gradients(in_float64, params, key, (jnp.asarray(values), jnp.asarray(batch.mask)))
    reference = MatNet(config, model.image_shape).double()
    convert.copy_into(reference, joined(params))
    weight = config.objective.annealing_start if config.objective.annealing_steps else 1.0
    loss = reference(torch.tensor(values[:, 0]), lambda shape: torch.tensor(normals(shape)), weight)
    assert_reference_agrees(reference, loss, value, joined(gradients))


@pytest.mark.parametrize("spec", ["lbae_mnist", "lbae_cifar10"])
def test_lbae_agrees(spec, x64, monkeypatch):
    from benchmarks.reference.lbae import Lbae

    config = configuration(spec, TINY_LBAE)
    model, key = build_model(config), jax.random.key(0)
    batch = jax.tree.map(jnp.asarray, random_batch(4, 1, model.image_shape))
    with jax.enable_x64(False):
        random = random_params(model, batch)
    params = jax.tree.map(lambda leaf: leaf.astype(np.float64) * 4, random)
    monkeypatch.setattr(lbae_objective, "pixels", lambda x: x.astype(np.float64) / 255.0)
    value, gradients = loss_and_gradients(model, params, key, batch)
    reference = Lbae(config, model.image_shape).double()
    convert.copy_into(reference, params)
    loss = reference(torch.from_numpy(np.asarray(batch.x_set[:, 0], np.float64) / 255.0))
    assert_reference_agrees(reference, loss, value, gradients)
    assert {name.split(".")[0] for name, _ in reference.named_parameters()} == {"encoder", "decoder"}


@pytest.mark.parametrize(("spec", "number"), [("lbae_mnist", 2_483_160), ("lbae_cifar10", 5_611_992)])
def test_published_lbae_has_its_parameters(spec, number):
    from benchmarks.reference.lbae import Lbae

    config = configuration(spec)
    reference = Lbae(config, build_model(config).image_shape)
    assert sum(parameter.numel() for parameter in reference.parameters()) == number

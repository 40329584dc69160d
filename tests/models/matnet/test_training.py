"""Matryoshka networks before and after a little training, on MNIST: cheap checkpoints of the published recipe."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.models.registry import build
from exflow.typing import Batch
from tests.conftest import need_tfds
from tests.models.matnet.small import BARE, config_of

SIZE = (28, 28, 1)
CONV = BARE | {"levels": "7-16-2,14-16-2,28-8-0", "latent_dim": 4, "top_latent_dim": 32, "top_hidden": 64}


def dense(groups, width=128, latent_dim=16):
    return {
        "levels": f"{width}-{groups - 1}",
        "latent_dim": latent_dim,
        "top_latent_dim": latent_dim,
        "shortcut_encoder": (),
        "likelihood": "bernoulli",
    }


def batch_of(images, step=0):
    x = jnp.asarray(images)[:, None]
    return Batch(x, jnp.ones(x.shape[:2], bool), jnp.arange(len(x)), step=jnp.asarray(step))


@pytest.mark.slow
def test_before_training_a_pixel_costs_a_bit():
    """784 ln 2 = 543.4 nats an image, and divergences of a few nats."""
    model = build(config_of(dense(2, width=24, latent_dim=8)), SIZE)
    batch = batch_of(np.random.default_rng(0).integers(0, 2, (8, *SIZE)).astype(np.uint8) * np.uint8(255))

    @jax.jit
    def terms(key):
        return model.loss(model.init(key, batch), key, batch).metrics

    found = terms(jax.random.key(0))
    assert abs(found["reconstruction"] - 784 * np.log(2)) < 40
    assert 0 < found["kl_z"] < 20


@pytest.fixture(scope="module")
def digits():
    """10,000 binary images."""
    import tensorflow_datasets as tfds

    need_tfds("mnist")
    images = np.stack([one["image"] for one in tfds.as_numpy(tfds.load("mnist", split="train[:10000]"))])
    return np.where(images > 127, np.uint8(255), np.uint8(0))


# Steps are many enough to be worth the optimisations that other tests are compiled without
OPTIMIZED = {"xla_backend_optimization_level": 2} if jax.default_backend() == "cpu" else None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "batch_size", "at_most"), [(dense(1), 100, 150.0), (dense(3), 100, 150.0), (CONV, 50, 160.0)]
)
def test_five_hundred_steps(options, batch_size, at_most, digits):
    """Of Adam on 10,000 images; the bound of their pixels, as binary images, in nats per image."""
    import optax

    images, config = digits, config_of(options)
    model = build(config, SIZE)
    params = jax.jit(model.init)(jax.random.key(0), batch_of(images[:batch_size]))
    optimizer = optax.chain(optax.clip_by_global_norm(1000.0), optax.adam(1e-3, b1=0.8, b2=0.98, eps=1e-4))

    @functools.partial(jax.jit, compiler_options=OPTIMIZED)
    def step(params, state, number, images):
        def value(trained):
            loss = model.loss({**params, **trained}, jax.random.key(number), batch_of(images, number))
            return loss.value, loss

        trained = {name: params[name] for name in ("generator", "inference")}
        gradients, loss = jax.grad(value, has_aux=True)(trained)
        updates, state = optimizer.update(gradients, state)
        trained = optax.apply_updates(trained, updates)
        return {**trained, "statistics": loss.statistics}, state, loss.metrics["nelbo"]

    state = optimizer.init({name: params[name] for name in ("generator", "inference")})
    costs, rng = [], np.random.default_rng(0)
    for number in range(500):
        chosen = images[rng.choice(len(images), batch_size)]
        params, state, cost = step(params, state, jnp.int32(number), chosen)
        costs.append(float(cost))
    assert np.isfinite(costs).all()
    assert np.mean(costs[-50:]) <= at_most


@pytest.mark.slow
@pytest.mark.parametrize("normalization", ["batch", "weight"])
def test_images_that_do_not_exist_change_no_gradient(normalization):
    model = build(config_of(dense(2, width=12, latent_dim=3) | {"normalization": normalization}), (8, 8, 1))
    rng = np.random.default_rng(0)
    there = np.array([True, True, False, True])
    first, second = (batch_of(rng.integers(0, 256, (4, 8, 8, 1)).astype(np.uint8)) for _ in range(2))
    mixed = jnp.where(there[:, None, None, None, None], first.x_set, second.x_set)
    params = jax.jit(model.init)(jax.random.key(0), first)

    @jax.jit
    def loss(trained, x_set, mask):
        batch = first._replace(x_set=x_set, mask=mask)
        return jax.value_and_grad(lambda trained: model.loss({**params, **trained}, jax.random.key(1), batch).value)(
            trained
        )

    trained, mask = {name: params[name] for name in ("generator", "inference")}, jnp.asarray(there)[:, None]
    expected, found = (loss(trained, x_set, mask) for x_set in (first.x_set, mixed))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)
    whole = loss(trained, first.x_set, jnp.ones_like(mask))[0]
    assert abs(whole - expected[0]) > 1e-3

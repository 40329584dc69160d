"""Losses against NumPy, images that do not exist, and codes to images and back, for every kind of latent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.config import base_config
from exflow.errors import UserError
from exflow.models.lbae.networks.autoencoder import Autoencoder
from exflow.models.lbae.networks.plan import plan
from exflow.models.lbae.objective import distortion, variables
from exflow.models.registry import build
from exflow.typing import Batch

SHAPE = (8, 8, 1)
RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.integers(0, 256, (6, 1, *SHAPE)), jnp.uint8)
MASK = jnp.asarray([[True], [True], [False], [True], [True], [True]])
BATCH = Batch(IMAGES, MASK, jnp.zeros(6, int))
KEY = jax.random.key(1)
KINDS = {
    "bits": {},
    "rounded": {"model.lbae.decimals": 1},
    "gaussian": {"objective.kl_weight": 3.0},
    "continuous": {"objective.code_weight": 0.7, "objective.distortion": "squared_error"},
}


def config_of(kind, **more):
    config = base_config("lbae")
    sizes = {"latent_dim": 5, "encoder_channels": (3, 4), "decoder_channels": (4, 3), "latent": kind}
    config.update_from_flattened_dict({f"model.lbae.{key}": value for key, value in sizes.items()})
    config.update_from_flattened_dict(KINDS[kind] | more)
    return config


@pytest.fixture(scope="module", params=KINDS)
def trained(request):
    """Configuration, model, parameters whose heads are no longer small, and the loss of the batch."""
    config = config_of(request.param)
    model = build(config, SHAPE)
    params = model.init(jax.random.key(0), BATCH)
    params["encoder"]["Linear_0"]["kernel"] *= 20.0
    return config, model, params, jax.jit(model.loss)


def test_loss(trained):
    config, model, params, loss = trained
    found = loss(params, KEY, BATCH)
    network = Autoencoder(plan(config.model.lbae, SHAPE, "float32"))
    values, present = jnp.where(MASK[..., None, None], IMAGES[:, 0] / 255.0, 0.0), np.asarray(MASK[:, 0])

    def of_network(*arguments, **options):
        found = network.apply(variables(params), *arguments, **options, mutable=["batch_stats"])[0]
        return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64)[present], found)

    outputs, coded = of_network(values, MASK[:, 0], KEY, True)
    s, x = 1 / (1 + np.exp(-outputs)), np.asarray(values, np.float64)[present]
    squares, nats = (x - s) ** 2, -(x * np.log(s) + (1 - x) * np.log1p(-s))
    error = nats if model.codes.distortion_unit == "nats" else squares
    expected = reconstruction = error.sum(axis=(1, 2, 3)).mean()
    if config.model.lbae.latent == "gaussian":
        heads = of_network(values, method=lambda network, x: network.encoder(x, MASK[:, 0], True))
        mean, log_variance = heads[:, :5], heads[:, 5:]
        kl = 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1).sum(axis=1).mean()
        np.testing.assert_allclose(found.metrics["kl"], kl, rtol=1e-4)
        expected += 3.0 / 5 * kl
    if config.model.lbae.latent == "continuous":
        expected += 0.7 * 0.5 * (coded.code**2).sum(axis=1).mean()
    np.testing.assert_allclose(found.value, expected, rtol=1e-5)
    np.testing.assert_allclose(found.metrics["reconstruction"], reconstruction, rtol=1e-5)


def test_what_does_not_exist_counts_for_nothing(trained):
    _, _, params, loss = trained
    other = BATCH._replace(x_set=BATCH.x_set.at[2].set(7))
    first, second = loss(params, KEY, BATCH), loss(params, KEY, other)
    np.testing.assert_array_equal(first.value, second.value)
    jax.tree.map(np.testing.assert_array_equal, first.statistics, second.statistics)


def test_codes_and_back(trained):
    config, model, params, _ = trained
    codes = model.codes.encode(params, IMAGES)
    assert codes.shape == (6, 1, 5)
    assert codes.dtype == (bool if config.model.lbae.latent == "bits" else np.float32)
    np.testing.assert_array_equal(model.encode(params, None, IMAGES), codes)
    decoded = model.codes.decode(params, codes)
    assert (decoded.shape, decoded.dtype) == (IMAGES.shape, np.uint8)
    one_by_one = model.codes.decode(params, codes[3])
    np.testing.assert_array_equal(decoded[3], one_by_one)
    if config.model.lbae.latent == "rounded":
        np.testing.assert_allclose(codes * 10, np.round(codes * 10), atol=1e-5)


def test_distortion_of_whole_images(trained):
    config, model, params, _ = trained
    found = model.codes.distortion(params, IMAGES)
    decoded = np.asarray(model.codes.decode(params, model.codes.encode(params, IMAGES)), np.float64) / 255
    x = np.asarray(IMAGES, np.float64) / 255.0
    if config.objective.distortion == "squared_error":
        expected, tolerance = ((x - decoded) ** 2).sum(axis=(2, 3, 4)), 0.05
    else:
        s = np.clip(decoded, 1e-9, 1 - 1e-9)
        expected, tolerance = -(x * np.log(s) + (1 - x) * np.log1p(-s)).sum(axis=(2, 3, 4)), 0.3
    np.testing.assert_allclose(found, expected, atol=tolerance)  # decoded pixels are rounded


def test_distortion_of_an_untrained_decoder():
    values = jnp.asarray(IMAGES[:, 0] / 255.0)
    np.testing.assert_allclose(distortion("cross_entropy", jnp.zeros(values.shape), values), 64 * np.log(2), rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "more", "message"),
    [
        ("bits", {"objective.kl_weight": 1.0}, "objective.kl_weight: expected 0 but for model.lbae.latent=gaussian"),
        (
            "gaussian",
            {"model.lbae.flip_probability": 0.1},
            "flip_probability: expected 0 but for model.lbae.lat",
        ),
        ("bits", {"model.lbae.encoder_channels": (3, 0)}, r"encoder_channels: expected widths such as"),
    ],
)
def test_contradictions(kind, more, message):
    from exflow.config import validate

    with pytest.raises(UserError, match=message):
        validate(config_of(kind, **more))

"""Divergences and active units of latent groups, against NumPy, of a linear model of binary images."""

import jax.numpy as jnp
import numpy as np
import pytest

from exflow.config import base_config
from exflow.data.registry import ImageSets
from exflow.evaluation import evaluate_split, registry
from exflow.evaluation.evaluators.latent_usage import LATENT_USAGE
from exflow.models.registry import build
from tests.evaluation.toy import toy_model
from tests.models.registry import small_config

pytestmark = pytest.mark.usefixtures("toy_families")
RNG = np.random.default_rng(0)
BINARY = RNG.integers(0, 2, (7, 2, 2, 1))
COUNT = np.array([4, 2])  # one image is of another split
INDEX = np.array([[0, 1, 2, 3], [5, 6, 5, 5]], np.int32)
OWN = BINARY[[0, 1, 2, 3, 5, 6]].reshape(6, 4)
SETS = ImageSets((255 * BINARY).astype(np.uint8), INDEX, COUNT.astype(np.int32), np.arange(2, dtype=np.int32), "toy")
# Of the means of three units the second hardly depends on the image
ENCODER = RNG.normal(size=(4, 6)) * np.array([1.0, 0.01, 0.5, 1.0, 1.0, 1.0])


def test_entries():
    config = base_config("toy_single", imports=())
    config.model.toy_single.latent_dim = 3
    config.data.rotate = False
    config.evaluation.evaluators = ("latent_usage",)
    config.evaluation.settings = ()
    model = build(config, (2, 2, 1))
    params = {"encoder": jnp.asarray(ENCODER, jnp.float32), "decoder": jnp.ones((3, 4))}
    entries = evaluate_split(config, model, params, SETS, "validation", None, lambda line: None)
    assert list(entries) == ["validation_kl_group_0", "validation_active_units_group_0"]
    kl, units = entries.values()
    mean, log_variance = np.split(OWN @ ENCODER, 2, axis=1)
    expected = (0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)).sum(axis=1)
    np.testing.assert_allclose(kl["value"], expected.mean(), rtol=1e-5)
    np.testing.assert_allclose(kl["standard_error"], expected.std(ddof=1) / np.sqrt(6), rtol=1e-5)
    assert (mean.var(axis=0) > 0.01).tolist() == [True, False, True]
    assert (units["value"], units["unit"], kl["unit"]) == (2, "units", "nats/image")
    assert "latent group 0 of 1, from the top, 3 units; 6 validation images" in units["protocol"]


def test_it_is_of_models_of_single_images():
    single, sets = (
        build(base_config("toy_single"), (2, 2, 1)),
        build(small_config(model__family="set_vae"), (28, 28, 1)),
    )
    assert LATENT_USAGE in registry.chosen(base_config("toy_single"), single)
    assert not LATENT_USAGE.requires(sets)
    assert not LATENT_USAGE.requires(toy_model())

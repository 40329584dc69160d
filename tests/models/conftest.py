"""What several test files of models share."""

import jax
import pytest

from exflow.models.registry import build
from tests.models.parameters import shaken
from tests.models.registry import TINY_VECTORS, small_config
from tests.models.test_set_models import batch_of, images


@pytest.fixture(scope="module")
def statistician():
    """A small Neural Statistician of vectors with perturbed parameters."""
    config = small_config(**(TINY_VECTORS | {"model__set_vae__class_rule": "kl"}))
    model = build(config, (1, 1, 2))
    x_set = images(4, 5, shape=(1, 1, 2))
    params = jax.jit(model.init)(jax.random.key(0), batch_of(x_set))
    return model, shaken(params, 1), x_set

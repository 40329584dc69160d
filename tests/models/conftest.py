"""What several test files of models share."""

import pytest

from exflow.models.registry import build
from tests.models.parameters import random_params
from tests.models.registry import TINY_VECTORS, small_config
from tests.models.test_set_models import images


@pytest.fixture(scope="module")
def statistician():
    """A small Neural Statistician of vectors with perturbed parameters."""
    config = small_config(**(TINY_VECTORS | {"model__set_vae__class_rule": "kl"}))
    model = build(config, (1, 1, 2))
    return model, random_params(model, config), images(4, 5, shape=(1, 1, 2))

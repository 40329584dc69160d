"""One small evaluation of every model of the registry; `test_set_models.py` tests its properties, mostly slowly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.model import sets_of
from exflow.models.registry import build
from tests.models.parameters import random_params
from tests.models.registry import MODELS, image_shape
from tests.models.test_set_models import contexts, images

# Between vectors, maps and streams, means and attention, one level and all, each way is gone once without these
SLOW = ("ns", "ns_lag", "hfsgm", "cns_lag", "chfsgm", "scha_vae")
NAMES = [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in MODELS]


@pytest.mark.parametrize("name", NAMES)
def test_the_joint_density_does_not_depend_on_the_order(name):
    model = build(MODELS[name], image_shape(name))
    x_set = images(1, 2, shape=model.image_shape)
    x_set = jnp.concatenate([x_set, x_set[:, ::-1]])
    context = contexts(1, 2)
    context = (jnp.concatenate([context, context[:, ::-1]]),) if model.context_dim else ()

    @jax.jit
    def joint(params, x_set, *context):
        return sets_of(model).joint(params, model.encode(params, None, x_set, *context))

    one, other = joint(random_params(model, MODELS[name]), x_set, *context)
    assert -1e6 < one < 0
    np.testing.assert_allclose(other, one, rtol=1e-5)

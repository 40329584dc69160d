"""The importance-weighted objectives of a Matryoshka network, from its own draws and weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from exflow.config import base_config
from exflow.core.latents.terms import element_log_weights
from exflow.models.matnet.networks.matnet import MatNet
from exflow.models.matnet.networks.plan import plan
from exflow.models.matnet.objective import INFERENCE, Objective
from exflow.models.matnet.observation import observation
from exflow.models.registry import build
from exflow.typing import Batch

pytestmark = pytest.mark.slow
DRAWS, SHAPE = 3, (2, 2, 1)


def value(model, moving, statistics, key, batch):
    return model.loss({**moving, "statistics": statistics}, key, batch).value


@pytest.fixture(scope="module")
def losses():
    """Of both bounds: (value, gradients), of one batch and key; and the log weights of the draws."""
    config = base_config("matnet")
    config.model.matnet.levels, config.model.matnet.latent_dim = "4-1", 2
    config.model.matnet.top_latent_dim, config.model.matnet.shortcut_encoder = 2, ()
    config.model.matnet.normalization, config.objective.draws = "none", DRAWS
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, (2, 1, *SHAPE)) * 255, jnp.uint8)
    batch, key, found = Batch(x, jnp.ones((2, 1), bool), jnp.zeros(2, jnp.int32)), jax.random.key(1), {}
    for config.objective.bound in ("iwae", "dreg"):
        model = build(config, SHAPE)
        params = jax.jit(model.init)(jax.random.key(0), batch)
        params["generator"]["dist_scale"] = jnp.asarray(1.5)  # weights far from equal
        moving = {name: part for name, part in params.items() if name != "statistics"}
        loss = jax.jit(jax.value_and_grad(value, argnums=1), static_argnums=0)
        found[config.objective.bound] = loss(model, moving, params["statistics"], key, batch)
    network = MatNet(plan(config.model.matnet, 1, SHAPE))
    objective = Objective(network, observation(config.model.matnet, 1), config.objective, SHAPE)
    keys = jax.random.split(jax.random.split(key)[1], DRAWS)
    weights = [
        element_log_weights(*objective.drawn(params, one, batch.x_set / 255.0, batch.mask)[:2], batch.mask)
        for one in keys
    ]
    return found, np.asarray(weights, np.float64)


@pytest.mark.parametrize("bound", ["iwae", "dreg"])
def test_the_loss_is_the_bound_of_its_draws(losses, bound):
    found, weights = losses
    expected = -(logsumexp(weights, axis=0) - np.log(DRAWS)).mean()
    np.testing.assert_allclose(found[bound][0], expected, rtol=1e-5)


def test_only_the_inference_network_has_other_gradients(losses):
    (_, iwae), (_, dreg) = (losses[0][bound] for bound in ("iwae", "dreg"))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), iwae["generator"], dreg["generator"]
    )
    differ = jax.tree.map(lambda a, b: not np.allclose(a, b, rtol=1e-2), iwae[INFERENCE], dreg[INFERENCE])
    assert any(jax.tree.leaves(differ))

"""Parameters of the published autoencoders, to the last one; nothing is computed."""

import jax
import jax.numpy as jnp
import pytest

from exflow.config import load_config
from exflow.models.registry import build, num_parameters
from exflow.typing import Batch


@pytest.mark.parametrize(
    ("config", "shape", "encoder", "decoder"),
    [
        ("lbae_mnist", (32, 32, 1), 1_910_792, 572_368),
        ("lbae_cifar10", (32, 32, 3), 3_550_744, 2_061_248),
        ("lbae_celeba", (64, 64, 3), 9_467_804, 9_470_400),
    ],
)
def test_published_counts(config, shape, encoder, decoder):
    model = build(load_config(config), shape)
    batch = Batch(jnp.zeros((2, 1, *shape), jnp.uint8), jnp.ones((2, 1), bool), jnp.zeros(2, int))
    params = jax.eval_shape(model.init, jax.random.key(0), batch)
    assert num_parameters(params["encoder"]) == encoder
    assert num_parameters(params["decoder"]) == decoder
    assert num_parameters({key: part for key, part in params.items() if key != "statistics"}) == encoder + decoder

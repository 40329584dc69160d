"""Whole Matryoshka networks against NumPy in float64: which feature meets which group, priors, loops, given groups."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.models.matnet.networks.layers import Mode
from exflow.models.matnet.networks.matnet import MatNet
from tests.models.matnet.reference_network import pass_down
from tests.models.matnet.small import BARE, CONV, DENSE, REFINER, means, network, pictures, random_variables

PROJECTIONS = BARE | {
    "levels": "2-3-1,4-4-0",
    "block": "projection",
    "merge_state": False,
    "entry_layers": 1,
    "exit_layers": 1,
    "activation": "relu",
    "scale_owner": "inference",
}
NETWORKS = {
    "maps": CONV | {"activation_pattern": "meta", "levels": "2-3-3,4-4-0", "prior": "mean"},
    "maps merged at two sizes": CONV | {"merge_difference": True, "prior": "full", "gain_of_outputs": True},
    "vectors": DENSE | {"prior": "full"},
    "projections": PROJECTIONS,
    "projected vectors": PROJECTIONS | {"levels": "6-2", "normalization": "batch_statistics", "scale_owner": "none"},
    "refiner": REFINER | {"prior": "mean"},
    "recurrent vectors": DENSE | {"block": "gru", "activation": "tanh", "levels": "6-3"},
}
SLOW = ("maps merged at two sizes", "projected vectors", "recurrent vectors")
BY_DEFAULT = [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in NETWORKS]


@functools.cache
def compiled(name):
    """(variables, images or None, given groups) -> groups and outputs, latents at their means."""
    module = network(NETWORKS[name])

    @functools.partial(jax.jit, static_argnums=3)
    def run(variables, x, given, num_groups=None):
        features = None if x is None else module.apply(variables, x, Mode(), method=MatNet.encode)
        batch = len(given[0]) if x is None else len(x)
        return module.apply(variables, means, features, batch, given, num_groups, Mode(), method=MatNet.top_down)

    return module, run


def assert_same(found, expected):
    (latents, outputs), (groups, expected_outputs) = found, expected
    assert len(latents) == len(groups)
    for latent, group in zip(latents, groups, strict=True):
        np.testing.assert_allclose(latent.value, group.z, rtol=1e-8, atol=1e-10)
        for law, moments in ((latent.p, group.p), (latent.q, group.q)):
            assert (law is None) == (moments is None)
            if law is not None:
                jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10), tuple(law), moments)
    np.testing.assert_allclose(outputs, expected_outputs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", BY_DEFAULT)
def test_inference_is_the_published_pass(name, x64):
    module, run = compiled(name)
    variables, x = random_variables(module), pictures(3)
    found = run(variables, jnp.asarray(x), ())
    assert_same(found, pass_down(jax.tree.map(np.asarray, variables["params"]), module.plan, x))
    shapes = tuple(latent.value.shape[1:] for latent in found[0])
    assert shapes == module.plan.latent_shapes()
    assert sum(np.prod(shape, dtype=int) for shape in shapes) == module.plan.num_latents()

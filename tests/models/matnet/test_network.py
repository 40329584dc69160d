"""Whole Matryoshka networks against NumPy in float64: which feature meets which group, priors, loops, given groups."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.models.matnet.networks.layers import Mode
from exflow.models.matnet.networks.matnet import MatNet
from exflow.models.matnet.networks.observed import Seen
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
SLOW = ("maps merged at two sizes", "vectors", "projections", "projected vectors", "recurrent vectors")
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


@pytest.mark.parametrize("name", ["refiner", pytest.param("maps", marks=pytest.mark.slow)])
def test_generation_with_given_groups(name, x64):
    """Also some groups of a recurrent level, whose logits are summed as in inference."""
    module, run = compiled(name)
    variables, rng = random_variables(module), np.random.default_rng(1)
    given = tuple(rng.normal(size=(3, *shape)) for shape in module.plan.latent_shapes()[:3])
    assert len(given) < module.plan.num_groups
    expected = pass_down(jax.tree.map(np.asarray, variables["params"]), module.plan, None, given, 3)
    assert_same(run(variables, None, tuple(map(jnp.asarray, given))), expected)


@pytest.mark.parametrize("num_groups", [1, 3])
def test_groups_that_are_not_drawn_have_the_means_of_their_priors(num_groups):
    module = network(NETWORKS["refiner"])
    variables, x = random_variables(module), jnp.asarray(pictures(2), jnp.float32)

    @jax.jit
    def run(variables, x):
        features = module.apply(variables, x, Mode(), method=MatNet.encode)
        draw = lambda law, number: law.mean + 1.0 + number  # noqa: E731
        return module.apply(variables, draw, features, 2, (), num_groups, Mode(), method=MatNet.top_down)[0]

    latents = run(variables, x)
    assert len(latents) == 4
    for number, latent in enumerate(latents):
        expected = latent.q.mean + 1.0 + number if number < num_groups else latent.p.mean
        np.testing.assert_allclose(latent.value, jnp.broadcast_to(expected, latent.value.shape), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("options", [CONV, REFINER | {"prior": "full"}])
def test_computing_blocks_again_changes_nothing(options, x64):
    x, found = jnp.asarray(pictures(2)), []
    for remat in (False, True):
        module = network(options | {"remat": remat})
        variables = random_variables(module)

        def loss(params, module=module):
            latents, outputs = module.apply({"params": params}, x, means, Mode(True))
            return (outputs**2).sum() + sum((latent.q.log_variance**2).sum() for latent in latents)

        found.append(jax.jit(jax.value_and_grad(loss))(variables["params"]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), *found)


def test_features_of_a_group_reach_no_group_above(x64):
    """Features that are not numbers make posteriors so from their own group on."""
    module, _ = compiled("maps")
    variables = random_variables(module)
    features = module.apply(variables, jnp.asarray(pictures(2)), Mode(), method=MatNet.encode)

    @jax.jit
    def posteriors(features):
        found = module.apply(variables, means, features, 2, (), None, Mode(), method=MatNet.top_down)
        return [latent.q.mean for latent in found[0]]

    for spoilt in range(3):
        groups = features.posterior.groups
        own = tuple(b * np.nan if k == spoilt else b for k, b in enumerate(groups[0]))
        found = posteriors(Seen(features.posterior._replace(groups=(own, *groups[1:]))))
        assert [bool(np.isnan(mean).any()) for mean in found] == [number > spoilt for number in range(4)]

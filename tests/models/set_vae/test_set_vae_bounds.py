"""Bounds from the latents of set VAEs: equal to the model's own, and what nesting and independence are good for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core.latents import bounds, terms
from exflow.models import latent_bounds
from exflow.models.latent_bounds import BOUND
from exflow.models.registry import build
from tests.models.parameters import random_params
from tests.models.registry import ALL_LEVELS, TINY_VECTORS, small_config
from tests.models.test_set_models import images

pytestmark = pytest.mark.slow  # many compilations

CONTEXT_LEVELS = {"vae": {"model__set_vae__set_latent_levels": "none"}, "ns": {}, "hfsgm": ALL_LEVELS}
SHAPE = (1, 1, 2)
MASK = jnp.asarray([[True] * 3, [True, False, True], [True, True, False]])


@functools.cache
def statistician(name):
    """A model of vectors and its parameters, small ones: so weights vary little, and few draws tell their mean."""
    config = small_config(**TINY_VECTORS, **CONTEXT_LEVELS[name])
    model = build(config, SHAPE)
    return model, jax.tree.map(lambda leaf: 0.5 * leaf, random_params(model, config))


@functools.cache
def elements(name):
    model, params = statistician(name)
    return jax.jit(model.encode)(params, None, images(3, 3, seed=3, shape=SHAPE))


def weigh(function, name, keys, *more):
    model, params = statistician(name)
    compiled = jax.jit(function, static_argnums=(0, 3) if more else 0)
    return compiled(model.latents, params, keys, *more, elements(name), MASK)


def keys_of_the_model(number):
    return jax.random.split(jax.random.fold_in(jax.random.key(0), BOUND), number)


def test_one_draw_is_the_bound_of_the_model():
    model, params = statistician("hfsgm")
    found = weigh(latent_bounds.elbo_terms, "hfsgm", keys_of_the_model(1)[0])
    expected = jax.jit(model.sets.joint)(params, elements("hfsgm"), MASK)
    np.testing.assert_allclose(terms.elbo(found), expected, rtol=1e-5)
    assert found.kl_examples.shape == found.kl_set.shape == (2, 3)
    assert (found.kl_examples > -1e-6).all()
    assert (found.kl_set > -1e-6).all()


@pytest.mark.parametrize("name", CONTEXT_LEVELS)
def test_many_draws_are_the_importance_weighted_bound_of_the_model(name):
    """Of sets, or where they share no latent of their elements."""
    model, params = statistician(name)
    alone = name == "vae"
    function = latent_bounds.element_log_weights if alone else latent_bounds.log_weights
    weights = weigh(function, name, keys_of_the_model(4))
    assert weights.shape == ((4, 3, 3) if alone else (4, 3))
    expected = jax.jit(model.sets.joint, static_argnums=3)(params, elements(name), MASK, 4)
    state = bounds.init(weights.shape[1:])
    for part in (weights[:1], weights[1:]):
        state = bounds.update(state, part)
    for bound in (bounds.iwae_bound(weights), bounds.finalize(state).bound):
        np.testing.assert_allclose(bound.sum(axis=1) if alone else bound, expected, rtol=1e-5)
    single = bounds.finalize(bounds.update(bounds.init(weights.shape[1:]), weights[2:3]))
    np.testing.assert_allclose(single.bound, weights[2], rtol=1e-6)


def test_elements_of_a_vae_are_independent():
    weights = weigh(latent_bounds.element_log_weights, "vae", keys_of_the_model(4))
    assert weights.shape == (4, 3, 3)
    np.testing.assert_array_equal(weights[:, ~np.asarray(MASK)], 0.0)
    sets = weigh(latent_bounds.log_weights, "vae", keys_of_the_model(4))
    np.testing.assert_allclose(weights.sum(axis=2), sets, rtol=1e-5)


@pytest.mark.parametrize("given", [0, 2])
def test_predictive_weights_estimate_the_density_of_a_sample_given_the_set(given):
    """Against plain Monte Carlo over q(c | X) and p(z | c), whose draws see nothing of the query."""
    model, params = statistician("ns")
    sets = elements("ns")
    query = jax.tree.map(lambda leaf: leaf[:, 2], sets)
    mask = jnp.broadcast_to(jnp.arange(3) < given, (3, 3))
    keys = jax.random.split(jax.random.key(0), 500_000)
    weights = jax.jit(latent_bounds.predictive_log_weights, static_argnums=0)(
        model.latents, params, keys, sets, mask, query
    )
    found = bounds.finalize(bounds.update(bounds.init((3,)), weights))

    def blind(key):
        set_key, example_key = jax.random.split(key)
        trace, _ = model.latents.infer(params, sets, mask, set_key)
        _, outputs = model.latents.generate(params, example_key, (3, 1), trace.set_latents)
        return model.latents.likelihood.log_prob(outputs[:, 0], query.values)

    draws = jax.jit(jax.vmap(blind))(jax.random.split(jax.random.key(1), 200_000))
    expected = bounds.finalize(bounds.update(bounds.init((3,)), draws))
    error = np.hypot(found.standard_error, expected.standard_error)
    assert (error < 0.02).all()
    assert (np.abs(found.bound - expected.bound) < 4 * error).all()


def test_nested_weights_have_the_same_mean_and_less_spread():
    outer, inner = 2_000, 8
    keys = jax.random.split(jax.random.key(2), outer)
    plain, nested = (
        bounds.finalize(bounds.update(bounds.init((3,)), weights))
        for weights in (
            weigh(latent_bounds.log_weights, "ns", keys),
            weigh(latent_bounds.nested_log_weights, "ns", keys, inner),
        )
    )
    difference = np.asarray(nested.bound - plain.bound)
    error = np.hypot(plain.standard_error, nested.standard_error)
    assert (np.abs(difference) < 5 * error).all()  # both estimate log p(X)
    assert (nested.effective_sample_size > plain.effective_sample_size).all()


@pytest.mark.parametrize("name", ["vae", "hfsgm"])
def test_nesting_needs_a_single_latent_of_the_set(name):
    with pytest.raises(ValueError, match="latents: expected a model with one latent of the set"):
        weigh(latent_bounds.nested_log_weights, name, keys_of_the_model(1), 2)

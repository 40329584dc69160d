"""Gradients of a hierarchy of two Gaussian latents against those of the bound itself, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core.latents.bounds import iwae_bound
from exflow.core.latents.doubly_reparametrized import doubly_reparametrized_bound

X = np.array([0.7, -1.9])
GENERATOR = {"slope": 0.8, "output": 1.3}  # z_2 | z_1 ~ N(slope z_1, 1), x | z_2 ~ N(output z_2, 1 / 4)
INFERENCE = {"upper": -0.3, "upper_log_sd": 0.3, "lower": 0.1, "above": 0.2, "lower_log_sd": 0.1}
PARAMS = {"generator": GENERATOR, "inference": INFERENCE}


def log_normal(value, mean, log_sd):
    return -0.5 * jnp.log(2 * jnp.pi) - log_sd - 0.5 * ((value - mean) * jnp.exp(-log_sd)) ** 2


def lower(params, upper):
    """Mean of q(z_2 | z_1, x), which depends on the generator too, as where posteriors see its state."""
    q, p = params["inference"], params["generator"]
    return q["lower"] * X + q["above"] * p["slope"] * upper


def draw(params, key):
    q, noise = params["inference"], jax.random.normal(key, (2, len(X)))
    upper = q["upper"] * X + jnp.exp(q["upper_log_sd"]) * noise[0]
    return upper, lower(params, upper) + jnp.exp(q["lower_log_sd"]) * noise[1]


def log_q(params, latents):
    q, (upper, below) = params["inference"], latents
    return log_normal(upper, q["upper"] * X, q["upper_log_sd"]) + log_normal(
        below, lower(params, upper), q["lower_log_sd"]
    )


def log_weight(params, latents):
    p, (upper, below) = params["generator"], latents
    log_p = log_normal(upper, 0.0, 0.0) + log_normal(below, p["slope"] * upper, 0.0)
    return log_p + log_normal(X, p["output"] * below, -jnp.log(2.0)) - log_q(params, latents)


def plain(params, keys):
    return iwae_bound(jax.vmap(lambda key: log_weight(params, draw(params, key)))(keys)).sum()


def doubly(params, keys):
    return doubly_reparametrized_bound(draw, log_weight, params, keys, lambda name: name == "inference").sum()


@functools.cache
def gradients(number, draws):
    """Of both, [number] repetitions of so many draws each."""
    keys = jax.random.split(jax.random.key(0), (number, draws))
    params = jax.tree.map(jnp.asarray, PARAMS)
    found = [jax.jit(jax.vmap(jax.value_and_grad(bound), in_axes=(None, 0)))(params, keys) for bound in (plain, doubly)]
    return jax.device_get(found)


def test_the_value_and_the_gradient_of_the_generator_are_those_of_the_bound(x64):
    (value, expected), (ours, found) = gradients(5_000, 8)
    np.testing.assert_allclose(ours, value, rtol=1e-12)
    for name in GENERATOR:
        np.testing.assert_allclose(found["generator"][name], expected["generator"][name], rtol=1e-9, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("name", INFERENCE)
def test_the_gradient_of_inference_is_the_same_in_expectation_and_varies_less(x64, name):
    (_, plainly), (_, doubly) = gradients(5_000, 8)
    plainly, doubly = plainly["inference"][name], doubly["inference"][name]
    difference = plainly - doubly
    error = difference.std() / np.sqrt(len(difference))
    assert abs(difference.mean()) < 4 * error, (difference.mean(), error)
    assert abs(doubly.mean()) > 10 * doubly.std() / np.sqrt(len(doubly))  # so that a factor would be noticed
    assert doubly.var() < 0.7 * plainly.var()


def test_one_draw_lacks_the_score_alone(x64):
    """d log q(z | x) / dphi at fixed z, whose expectation is 0."""
    key = jax.random.split(jax.random.key(3), 1)
    params = jax.tree.map(jnp.asarray, PARAMS)

    def all_three(params):
        latents = draw(params, key[0])
        score = jax.grad(lambda params: log_q(params, latents).sum())(params)
        return [found["inference"] for found in (score, jax.grad(plain)(params, key), jax.grad(doubly)(params, key))]

    score, plainly, ours = jax.jit(all_three)(params)
    for name in INFERENCE:
        np.testing.assert_allclose(ours[name] - score[name], plainly[name], rtol=1e-12, atol=1e-13)
        assert abs(score[name]) > 1e-3

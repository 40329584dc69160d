"""Annealed losses of a small hierarchy: their values and gradients against plain formulas and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core.latents.annealing import annealed_loss, rising_weight
from exflow.core.latents.diagonal_gaussian import DiagonalGaussian, from_noise
from exflow.core.latents.trace import Latent, Level, TopDown

BATCH, SET, DIM = 2, 3, 2
MASK = np.array([[True, True, False], [True, True, True]])
SHAPES = {"example": (2, 4, BATCH, SET, DIM), "set": (4, BATCH, DIM)}  # levels; mean, log-variance of q, then of p


def parameters():
    rng = np.random.default_rng(4)
    return {name: rng.normal(size=shape) for name, shape in SHAPES.items()}


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def trace_of(params):
    """Two levels of latents of elements, of which the upper has one of the set."""

    def latent(moments, eps):
        q, p = DiagonalGaussian(*moments[:2]), DiagonalGaussian(*moments[2:])
        return Latent(from_noise(q, jnp.asarray(eps)), p, q)

    examples = [latent(params["example"][i], noise(i, BATCH, SET, DIM)) for i in range(2)]
    of_set = latent(params["set"], noise(9, BATCH, DIM))
    return TopDown((Level(of_set, examples[0]), Level(None, examples[1])), examples[1].value, None)


def log_probs_of(trace):
    """Some function of all latents."""
    examples = sum(level.example_latent.value for level in trace.levels)
    return -((examples + trace.set_latents[0][:, None]) ** 2).sum(axis=-1)


def loss(params, weight, squares=True, nats=0.0):
    trace = trace_of(params)
    return annealed_loss(trace, log_probs_of(trace), jnp.asarray(MASK), weight, squares, nats)


GRADIENT = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=2)


def entries(moments):
    """Divergence of every entry, as the literature writes it."""
    mean, log_variance, prior_mean, prior_log_variance = moments
    ratio = np.exp(log_variance - prior_log_variance)
    shift = (mean - prior_mean) ** 2 / np.exp(prior_log_variance)
    return 0.5 * (prior_log_variance - log_variance + ratio + shift - 1)


def by_hand(params, weight, squares=True):
    """The same loss with numpy."""
    examples = np.moveaxis(params["example"], 1, 0)
    kl = [entries(examples)[:, MASK], entries(params["set"])]
    z = (examples[0] + np.exp(0.5 * examples[1]) * np.stack([noise(i, BATCH, SET, DIM) for i in range(2)])).sum(axis=0)
    c = params["set"][0] + np.exp(0.5 * params["set"][1]) * noise(9, BATCH, DIM)
    fit = ((z + c[:, None]) ** 2).sum(axis=-1)[MASK].sum()
    plain, squared = sum(part.sum() for part in kl), sum((part**2).sum() for part in kl)
    return (fit + weight * plain + squares * (1 - weight) * squared) / MASK.sum()


@pytest.mark.parametrize("squares", [True, False])
@pytest.mark.parametrize("weight", [0.3, *(pytest.param(end, marks=pytest.mark.slow) for end in (0.0, 1.0))])
def test_value_and_gradient(x64, weight, squares):
    params = parameters()
    (value, _), gradient = GRADIENT(jax.tree.map(jnp.asarray, params), weight, squares)
    np.testing.assert_allclose(value, by_hand(params, weight, squares), rtol=1e-13)
    for name, array in params.items():
        step, slopes = 1e-6, np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            ahead, behind = (params | {name: array.copy()} for _ in range(2))
            ahead[name][index] += step
            behind[name][index] -= step
            slopes[index] = (by_hand(ahead, weight, squares) - by_hand(behind, weight, squares)) / (2 * step)
        np.testing.assert_allclose(gradient[name], slopes, rtol=1e-6, atol=1e-7)


def test_at_zero_it_moves_by_the_squares_alone(x64):
    """Where the fit does not depend on the latents, gradients are those of the sum of squares."""
    params = jax.tree.map(jnp.asarray, parameters())

    def without_fit(params):
        return annealed_loss(trace_of(params), jnp.zeros(MASK.shape), jnp.asarray(MASK), 0.0, squares=True)[0]

    def sum_of_squares(params):
        kl = [entries_in_jax(params["example"][i])[MASK] for i in range(2)] + [entries_in_jax(params["set"])]
        return sum((part**2).sum() for part in kl) / MASK.sum()

    def entries_in_jax(moments):
        mean, log_variance, prior_mean, prior_log_variance = moments
        return 0.5 * (
            prior_log_variance
            - log_variance
            + jnp.exp(log_variance - prior_log_variance)
            + (mean - prior_mean) ** 2 / jnp.exp(prior_log_variance)
            - 1
        )

    ours, expected = (jax.jit(jax.grad(function))(params) for function in (without_fit, sum_of_squares))
    for name in params:
        np.testing.assert_allclose(ours[name], expected[name], rtol=1e-12, atol=1e-14)
    assert not np.asarray(ours["example"])[:, :, 0, 2].any()  # the element that does not exist


def test_at_one_it_is_the_negative_bound_whatever_the_squares(x64):
    params = jax.tree.map(jnp.asarray, parameters())
    (value, per_image), _ = GRADIENT(params, 1.0, True)
    np.testing.assert_allclose(value, GRADIENT(params, 1.0, False)[0][0], rtol=1e-15)
    bound = per_image.log_prob[0] - per_image.kl_examples.sum() - per_image.kl_set.sum()
    np.testing.assert_allclose(-value, bound, rtol=1e-14)
    examples = entries(np.moveaxis(parameters()["example"], 1, 0))[:, MASK].sum(axis=(1, 2))
    np.testing.assert_allclose(per_image.kl_examples[:, 0], examples / MASK.sum(), rtol=1e-13)


def test_free_bits_spare_levels_that_tell_little(x64):
    """With a threshold just above the smallest divergence, this one alone is replaced by it."""
    params = jax.tree.map(jnp.asarray, parameters())
    _, per_image = loss(params, 1.0)
    kl = jnp.concatenate([per_image.kl_examples, per_image.kl_set])[:, 0]
    nats = float(kl.min()) * 1.001
    idle = int(kl.argmin())
    value, _ = loss(params, 1.0, nats=nats)
    np.testing.assert_allclose(value, -per_image.log_prob[0] + kl.sum() - kl[idle] + nats, rtol=1e-13)


def test_rising_weight():
    weights = [float(rising_weight(0.2, 4, step)) for step in range(6)]
    np.testing.assert_allclose(weights, [0.2, 0.4, 0.6, 0.8, 1.0, 1.0], rtol=1e-6)
    assert float(rising_weight(0.0, 0, 0)) == float(rising_weight(0.0, 10, 10)) == 1.0
    assert float(rising_weight(0.0, 10, 0)) == 0.0

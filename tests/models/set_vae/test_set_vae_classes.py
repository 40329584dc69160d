"""Rules that tell to which set an element belongs, against loops over pairs."""

import jax.numpy as jnp
import numpy as np
import scipy.stats

from exflow.core.latents.diagonal_gaussian import DiagonalGaussian
from exflow.core.likelihoods.likelihood import likelihood
from exflow.models.set_vae.classes import best_reconstruction_scores, kl_scores


def gaussians(rng, *shape):
    return DiagonalGaussian(jnp.asarray(rng.normal(size=shape)), jnp.asarray(rng.normal(size=shape)))


def test_divergences_are_those_of_dense_gaussians(x64):
    rng = np.random.default_rng(0)
    supports = [gaussians(rng, 2, 3, 4), gaussians(rng, 2, 3, 2, 2, 1)]
    queries = [gaussians(rng, 2, 5, 4), gaussians(rng, 2, 5, 2, 2, 1)]
    scores = kl_scores(supports, queries, leading=2)
    assert scores.shape == (2, 5, 3)
    p, q = (
        [np.concatenate([np.asarray(part[at]).reshape(2, -1, 4) for part in levels], axis=-1) for at in range(2)]
        for levels in (supports, queries)
    )
    for lead, query, way in np.ndindex(scores.shape):
        (a, log_a), (b, log_b) = ((mean[lead, at], log[lead, at]) for (mean, log), at in ((p, way), (q, query)))
        ratio = np.diag(np.exp(log_a - log_b))
        trace, distance = np.trace(ratio), (a - b) @ np.diag(np.exp(-log_b)) @ (a - b)
        expected = 0.5 * (trace - 8 + distance - np.linalg.slogdet(ratio)[1])
        np.testing.assert_allclose(scores[lead, query, way], -expected, rtol=1e-10)


def test_the_best_reconstruction_of_those_that_exist_counts(x64):
    rng = np.random.default_rng(1)
    logits, values = rng.normal(size=(3, 4, 2, 2, 1)), rng.integers(0, 2, (5, 2, 2, 1)).astype(float)
    mask = np.array([[True] * 4, [True, False, True, False], [False] * 4])
    scores = best_reconstruction_scores(likelihood("bernoulli"), *map(jnp.asarray, (logits, mask, values)))
    probability = 1 / (1 + np.exp(-logits))
    every = scipy.stats.bernoulli.logpmf(values[:, None, None], probability).sum(axis=(3, 4, 5))
    np.testing.assert_allclose(scores[:, 0], every[:, 0].max(axis=-1), rtol=1e-10)
    np.testing.assert_allclose(scores[:, 1], every[:, 1, [0, 2]].max(axis=-1), rtol=1e-10)
    assert (scores[:, 2] == -np.inf).all()

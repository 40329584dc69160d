"""Samplers of the observation models: exact distributions by chi-square, moments with 5-sigma gates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from exflow.core.likelihoods.likelihood import likelihood

SEED = 20220702
NUM = 40_000
CENTERS = np.arange(256) / 127.5 - 1


def draw(name: str, outputs: np.ndarray) -> np.ndarray:
    """[NUM, channels] samples of one pixel."""
    repeated = jnp.broadcast_to(jnp.asarray(outputs, jnp.float32), (NUM, 1, 1, len(outputs)))
    return np.float64(jax.jit(likelihood(name).sample)(jax.random.key(SEED), repeated))[:, 0, 0]


def assert_within_five_sigma(samples: np.ndarray, expected: np.ndarray | float):
    error, gate = abs(samples.mean(axis=0) - expected), 5 * samples.std(axis=0) / np.sqrt(len(samples))
    assert (error < gate).all(), f"seed {SEED}: {error} against {gate}"


NARROW = np.concatenate([np.linspace(-2, 1, 10), np.linspace(-1.1, 1.1, 10), np.linspace(-5, -1, 10)])


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("bernoulli", np.array([-1.3])),
        ("discretized_gaussian", np.array([0.2, -2.0])),
        ("discretized_gaussian", np.array([-0.9, 3.0])),  # log variance at its maximum, much mass at both ends
        ("logistic_mixture", NARROW),
    ],
)
def test_samples_have_the_probabilities_that_log_prob_says(name, outputs):
    law = likelihood(name)
    pixels = np.array([0, 255] if name == "bernoulli" else range(256), np.uint8)
    values = law.to_values(None, jnp.asarray(pixels.reshape(-1, 1, 1, 1)))
    log_probs = jax.jit(law.log_prob)(jnp.asarray(outputs, jnp.float32).reshape(1, 1, 1, -1), values)
    expected = NUM * np.exp(np.float64(log_probs))
    drawn = np.asarray(law.to_pixels(jnp.asarray(draw(name, outputs), jnp.float32)))[:, 0]
    counts = np.bincount(drawn, minlength=256)[pixels]
    assert counts.sum() == NUM
    common = expected > 5
    counts, expected = (np.append(part[common], part[~common].sum() + 1e-9) for part in (counts, expected))
    pvalue = stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue
    assert pvalue > 1e-5, f"seed {SEED}: p = {pvalue}"


@pytest.mark.parametrize("name", ["gaussian", "gaussian_pixels"])
def test_gaussian_samples_have_mean_and_clipped_variance(name):
    raw, log_variance = np.array([0.4, -2.0, 1.0]), np.array([-9.0, 0.5, 8.0])
    samples = draw(name, np.concatenate([raw, log_variance]))
    mean, variance = special.expit(raw) if name == "gaussian_pixels" else raw, np.exp(np.clip(log_variance, -4, 3))
    assert_within_five_sigma(samples, mean)
    assert_within_five_sigma((samples - mean) ** 2, variance)
    assert_within_five_sigma(samples[:, 0] * samples[:, 1], mean[0] * mean[1])


def bin_probabilities(mean: np.ndarray, scale: float) -> np.ndarray:
    """[..., 256] probabilities of a logistic law."""
    edges = np.append(CENTERS[:-1] + 1 / 255, np.inf)
    return np.diff(special.expit((edges - mean[..., None]) / scale), axis=-1, prepend=0.0)


def test_colour_samples_have_the_moments_of_the_coupled_mixture():
    """Two of ten components, by sums over red and green and a fine table of the mean of blue."""
    weight, means = np.array([0.3, 0.7]), np.array([[0.3, -0.2], [0.1, 0.4], [-0.3, 0.2]])
    scales = np.array([[0.2, 0.1], [0.1, 0.05], [0.08, 0.2]])
    coefficients = np.array([[0.9, -0.5], [-0.6, 0.8], [0.7, 0.3]])
    parts = np.zeros((3, 3, 10))
    parts[..., :2] = np.stack([means, np.log(scales), np.arctanh(coefficients)], axis=1)
    samples = draw("logistic_mixture", np.concatenate([np.log(weight), np.full(8, -1e9), parts.ravel()]))

    first, second = np.zeros(3), np.zeros((3, 3))
    for k in range(2):
        red = bin_probabilities(means[:1, k], scales[0, k])[0]
        joint = red[:, None] * bin_probabilities(means[1, k] + coefficients[0, k] * CENTERS, scales[1, k])
        grid = np.linspace(-3, 3, 6001)
        table = bin_probabilities(grid, scales[2, k]) @ CENTERS
        r, g = np.meshgrid(CENTERS, CENTERS, indexing="ij")
        b = np.interp(means[2, k] + coefficients[1, k] * r + coefficients[2, k] * g, grid, table)
        for i, one in enumerate((r, g, b)):
            first[i] += weight[k] * (joint * one).sum()
            for j, other in enumerate((r, g, b)):
                second[i, j] += weight[k] * (joint * one * other).sum()
    assert_within_five_sigma(samples, first)
    products = samples[:, :, None] * samples[:, None, :]
    for i, j in ((0, 0), (1, 1), (0, 1), (0, 2), (1, 2)):  # not the square of blue, whose table is of its mean
        assert_within_five_sigma(products[:, i, j], second[i, j])

"""Models with log probabilities: they add up to 1, their fits are optimal, and code lengths are entropies."""

import numpy as np
import pytest
from scipy import optimize, stats

from exflow.core.binary import mixture
from exflow.core.binary.autoregressive import AutoregressiveBits
from exflow.core.binary.chunks import ROWS
from exflow.core.binary.code_length import bit_entropies, bitwise_length, lengths
from exflow.core.binary.independent import IndependentBits, fit_moments
from exflow.core.binary.mixture import BernoulliMixture
from exflow.core.binary.moments import moments_of
from exflow.core.binary.registry import binary_model
from tests.core.binary.cases import all_codes, clustered, moments_by_enumeration

DENSITIES = ["independent", "mixture", "autoregressive"]


@pytest.mark.parametrize("kind", DENSITIES)
def test_probabilities_of_all_codes_add_up_to_one(kind):
    model = binary_model(kind, num_components=3)
    codes = clustered(400, 8, 3)
    codes[:, 5] = True  # a bit that never changes
    fitted = model.fit(codes)
    log_prob = model.log_prob(fitted, all_codes(8))
    assert np.isfinite(log_prob).all()
    np.testing.assert_allclose(np.exp(log_prob).sum(), 1.0, rtol=0, atol=1e-12)
    if model.expected_moments is not None:
        moments = moments_by_enumeration(np.exp(log_prob), all_codes(8))
        for part, same in zip(model.expected_moments(fitted), moments, strict=True):
            np.testing.assert_allclose(part, same, rtol=0, atol=1e-12)
    assert model.log_prob(fitted, codes[:0]).shape == (0,)


def test_independent_bits_against_scipy():
    fitted = IndependentBits(np.array([0.2, 0.7, 0.5]))
    expected = stats.bernoulli.logpmf(all_codes(3), fitted.probability).sum(axis=1)
    model = binary_model("independent")
    np.testing.assert_allclose(model.log_prob(fitted, all_codes(3)), expected, rtol=1e-14)
    moments = moments_of(clustered(100, 3, 2))
    np.testing.assert_allclose(model.expected_moments(fit_moments(moments)).mean, moments.mean, atol=1e-15)


def test_expectation_maximization_never_falls_and_rests_at_a_mode():
    codes = clustered(500, 10, 4)
    start = mixture._start(codes, 4, np.random.default_rng(0))
    fitted, history = mixture.expectation_maximization(codes, start, 200)
    assert len(history) > 5
    assert (np.diff(history) > -1e-9).all()
    log_prob = binary_model("mixture").log_prob
    difference = log_prob(fitted, codes).sum() - log_prob(start, codes).sum()
    prior = mixture._log_prior(fitted) - mixture._log_prior(start)
    np.testing.assert_allclose(history[-1] - history[0], difference + prior, rtol=1e-10)

    def posterior(probability):
        shifted = fitted._replace(probability=probability)
        return log_prob(shifted, codes).sum() + mixture._log_prior(shifted)

    gradient = optimize.approx_fprime(fitted.probability.ravel(), lambda p: posterior(p.reshape(4, 10)), 1e-7)
    of_logits = gradient.reshape(4, 10) * fitted.probability * (1 - fitted.probability)
    assert np.abs(of_logits / len(codes)).max() < 1e-3


def test_mixtures_find_their_components_and_the_criterion_their_number():
    truth = BernoulliMixture(np.array([0.5, 0.3, 0.2]), np.tile([[0.1], [0.5], [0.9]], (1, 12)))
    rng = np.random.default_rng(0)
    codes = rng.random((2000, 12)) < truth.probability[rng.choice(3, 2000, p=truth.weight)]
    criteria = []
    for num_components in (1, 2, 3, 4):
        model = binary_model("mixture", num_components=num_components)
        fitted = model.fit(codes, seed=1)
        criteria.append(mixture.bayesian_information_criterion(fitted, codes))
        if num_components == 3:
            order = np.argsort(fitted.probability.mean(axis=1))
            np.testing.assert_allclose(fitted.weight[order], truth.weight, atol=0.06)
            np.testing.assert_allclose(fitted.probability[order], truth.probability, atol=0.1)
    assert np.argmin(criteria) == 2
    total = -2 * model.log_prob(fitted, codes).sum() + (4 * 12 + 3) * np.log(2000)
    np.testing.assert_allclose(criteria[-1], total, rtol=1e-12)


def test_more_codes_than_a_chunk():
    codes = clustered(ROWS + 100, 5, 2)
    fitted = BernoulliMixture(np.array([0.4, 0.6]), np.random.default_rng(0).uniform(0.1, 0.9, (2, 5)))
    by_hand = np.where(codes[:, None], fitted.probability, 1 - fitted.probability).prod(axis=2) @ fitted.weight
    np.testing.assert_allclose(np.exp(binary_model("mixture").log_prob(fitted, codes)), by_hand, rtol=1e-12)


@pytest.mark.parametrize("precision", [1.0, 0.01])
def test_every_logistic_regression_is_at_its_mode(precision):
    """Newton's conditions of every bit by itself: the gradient of the negative log posterior vanishes."""
    codes = clustered(300, 7, 3)
    codes[:, 2], codes[:, 4] = codes[:, 1], True  # one that another determines, one that never changes
    fitted = binary_model("autoregressive", prior_precision=precision).fit(codes)
    np.testing.assert_array_equal(np.triu(fitted.weights), 0)
    signs = np.where(codes, 1.0, -1.0)
    for i in range(7):
        inputs = np.column_stack([np.ones(300), signs[:, :i]])
        weights = np.append(fitted.intercept[i], fitted.weights[i, :i])
        share = 1 / (1 + np.exp(-(inputs @ weights)))
        gradient = inputs.T @ (share - codes[:, i]) + precision * weights
        hessian = (inputs.T * (share * (1 - share))) @ inputs + precision * np.eye(i + 1)
        assert np.abs(np.linalg.solve(hessian, gradient)).max() < 0.02  # the step of Newton that is left
        assert gradient @ np.linalg.solve(hessian, gradient) < 1e-4  # nats it would still gain


def test_autoregressive_probabilities_by_hand():
    fitted = AutoregressiveBits(np.array([[0.0, 0.0], [0.7, 0.0]]), np.array([0.3, -0.2]))
    first = 1 / (1 + np.exp(-0.3))
    second = 1 / (1 + np.exp(0.2 - 0.7))
    found = np.exp(binary_model("autoregressive").log_prob(fitted, np.array([[True, False]])))
    np.testing.assert_allclose(found, first * (1 - second), rtol=1e-14)


def test_lengths_of_codes():
    """By the true model, the cross-entropy is the entropy, within its standard error; independent bits need more."""
    codes = clustered(4000, 8, 2, seed=3)
    model = binary_model("mixture", num_components=2)
    fitted = model.fit(codes[:2000])
    probability = np.exp(model.log_prob(fitted, all_codes(8)))
    entropy = -(probability * np.log2(probability)).sum()
    rng = np.random.default_rng(0)
    draws = all_codes(8)[rng.choice(256, 5000, p=probability / probability.sum())]
    found = lengths(model.log_prob(fitted, draws))
    error = found.std(ddof=1) / np.sqrt(5000)
    assert abs(found.mean() - entropy) < 5 * error
    assert error < 0.05
    assert found.mean() < bitwise_length(draws) < 8
    np.testing.assert_allclose(bit_entropies(np.array([0.0, 1.0, -1.0])), [np.log(2), 0, 0], atol=1e-15)
    assert abs(lengths(model.log_prob(fitted, codes[2000:])).mean() - entropy) < 0.2
    assert binary_model("threshold").log_prob is None

"""Learned processes read back from parameters, restriction to some dimensions, and marginal distributions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from exflow.core import gaussian_process, low_rank_process, mixture_process, student_t_process
from exflow.core.distributions import student_t_log_prob
from exflow.core.process import Marginals
from exflow.errors import UserError
from exflow.evaluation import compiled
from exflow.evaluation.analysis import correlations, latent_distribution
from exflow.models.bruno.image_flow import FlowElement
from exflow.models.registry import build
from tests.core.registry import COMPILED
from tests.evaluation.toy import toy_model
from tests.models.registry import IMAGE_SHAPE, MODELS

MOMENTS = (np.array([0.1, -0.2, 0.0]), np.array([1.0, 2.0, 0.5]), np.array([0.05, 1.0, 0.45]))
FREEDOM, WEIGHT = np.array([3.0, 40.0, 1e5]), np.array([0.2, 0.5, 0.9])
CASES = {
    "gaussian": (gaussian_process, MOMENTS),
    "student_t": (student_t_process, (*MOMENTS, FREEDOM)),
    "mixture": (mixture_process, (*MOMENTS, FREEDOM, WEIGHT)),
}


def bruno(process):
    return build(MODELS[f"bruno_{process}"], IMAGE_SHAPE)


@pytest.mark.parametrize("name", CASES)
def test_process_is_read_back(name, x64):
    module, moments = CASES[name]
    raw = jax.jit(lambda *moments: module.unconstrain(module.from_moments(*moments)))(*moments)
    found = correlations.latent_process(bruno(name), {"flow": {}, "process": raw})
    expected = (*MOMENTS[:2], MOMENTS[2] / MOMENTS[1], *moments[3:], None, None)
    for value, wanted in zip(found, expected, strict=False):
        if wanted is None:
            assert value is None
        else:
            np.testing.assert_allclose(value, wanted, rtol=1e-9)


def low_rank_example():
    """Parameters, their trainable form, and the matrices diag(rho) + A A' and diag(v - rho)."""
    factor = np.array([[0.7, -0.2], [0.0, 1.1], [-0.4, 0.3]])
    params = jax.jit(low_rank_process.from_moments)(*MOMENTS, factor)
    between, within = np.diag(MOMENTS[2]) + factor @ factor.T, np.diag(MOMENTS[1] - MOMENTS[2])
    return params, COMPILED["low_rank_process"].unconstrain(params), between, within


def test_shared_factors_count_in_variance_and_correlation(x64):
    _, raw, between, within = low_rank_example()
    found = correlations.latent_process(bruno("low_rank"), {"process": raw})
    np.testing.assert_allclose(found.variance, np.diag(between + within), rtol=1e-9)
    np.testing.assert_allclose(found.correlation, np.diag(between) / np.diag(between + within), rtol=1e-9)
    assert found.degrees_of_freedom is None


def test_restricted_factors_are_the_marginal(x64):
    """Against the covariance matrix of two of three dimensions of a set of four."""
    _, raw, between, within = low_rank_example()
    keep = np.array([True, False, True])
    z = np.random.default_rng(0).normal(size=(4, 3))
    fewer, elements = bruno("low_rank").process.restrict({"process": raw}, FlowElement(z, np.zeros(4)), keep)
    process = COMPILED["low_rank_process"]
    log_probs = process.log_prob(process.constrain(fewer["process"]), jnp.asarray(elements.z))
    chosen = np.ix_(keep, keep)
    covariance = np.kron(np.ones((4, 4)), between[chosen]) + np.kron(np.eye(4), within[chosen])
    expected = stats.multivariate_normal(np.tile(MOMENTS[0][keep], 4), covariance).logpdf(z[:, keep].ravel())
    np.testing.assert_allclose(log_probs.sum(), expected, rtol=1e-9)


def test_models_without_such_a_process_say_so():
    with pytest.raises(UserError, match=r"has no exchangeable process of its latent dimensions. Choose"):
        correlations.latent_process(toy_model()._replace(process=None), {})


def test_dimensions_above():
    process = Marginals(np.zeros(5), np.ones(5), np.array([0.0, 0.1, 0.2, 0.2, 0.9]), None, None)
    np.testing.assert_array_equal(correlations.dimensions_above(process, np.array([0.0, 0.1, 0.2, 0.95])), [4, 3, 1, 0])


def test_restricted_scores_add_up_to_those_of_all_dimensions():
    model, rng = build(MODELS["bruno_student_t"], IMAGE_SHAPE), np.random.default_rng(0)
    fields = ("mean", "raw_variance", "raw_correlation", "raw_degrees_of_freedom")
    values = np.array([[0.1, 0.0, 0.2, 0.0], [0.5, 1.0, 0.2, 0.3], [-3.0, 1.0, -2.5, 0.5], [2.0, 1.0, 1.5, 3.0]])
    params = {"flow": {}, "process": dict(zip(fields, jnp.asarray(values, jnp.float32), strict=True))}
    elements = FlowElement(rng.normal(size=(2, 6, 4)).astype(np.float32), np.ones((2, 6), np.float32))
    keep = correlations.correlated_dimensions(model, params, 0.3)
    np.testing.assert_array_equal(keep, [False, True, False, True])
    gains = []
    for chosen in (np.ones(4, bool), keep, ~keep):
        fewer_params, fewer = model.process.restrict(params, elements, chosen)
        np.testing.assert_array_equal(fewer.z, elements.z[..., chosen])
        gains.append(np.asarray(compiled.conditional_gain(model, fewer_params, fewer, np.ones((2, 6), bool))))
    np.testing.assert_allclose(gains[0], gains[1] + gains[2], atol=2e-5)
    assert np.abs(gains[1]).max() > 5 * np.abs(gains[2]).max()
    with pytest.raises(UserError, match=r"min_correlation: no dimension is above 0.99; the highest has 0\.731."):
        correlations.correlated_dimensions(model, params, 0.99)


def process_of(name):
    tails = {"gaussian": (None, None), "student_t": (FREEDOM, None), "mixture": (FREEDOM, WEIGHT)}[name]
    return Marginals(MOMENTS[0], MOMENTS[1], MOMENTS[2] / MOMENTS[1], *tails)


@pytest.mark.parametrize("name", CASES)
def test_marginal_density(name, x64):
    module, moments = CASES[name]
    params, dimensions = jax.jit(module.from_moments)(*moments), np.arange(3)
    points = np.linspace(-4, 4, 7)[:, None] + np.zeros(3)
    found = latent_distribution.density(process_of(name), dimensions, points)
    gaussian = stats.norm.pdf(points, MOMENTS[0], np.sqrt(MOMENTS[1]))
    residual = jnp.asarray((points - MOMENTS[0]) ** 2)
    freedom = np.broadcast_to(FREEDOM - 2, points.shape)
    student_t = np.exp(
        jax.jit(student_t_log_prob)(residual, jnp.broadcast_to(MOMENTS[1], points.shape), jnp.asarray(freedom))
    )
    weight = {"gaussian": 1.0, "student_t": 0.0, "mixture": WEIGHT}[name]
    np.testing.assert_allclose(found, weight * gaussian + (1 - weight) * student_t, rtol=1e-9)
    one = jnp.asarray(points[2])
    total = jax.jit(lambda params: module.predictive_log_prob(params, module.init_state(params), one))(params)
    np.testing.assert_allclose(np.log(found[2]).sum(), total, rtol=1e-9)
    grid = np.linspace(-1, 2, 2001)[:, None] + np.zeros(3)
    area = integrate.simpson(latent_distribution.density(process_of(name), dimensions, grid), x=grid[:, 0], axis=0)
    below = latent_distribution.distribution_function(process_of(name), dimensions, grid[[0, -1]])
    np.testing.assert_allclose(below[1] - below[0], area, rtol=1e-9)


def test_kolmogorov_smirnov_distance_equals_scipy():
    rng, process = np.random.default_rng(0), process_of("student_t")
    z = rng.standard_t(4, size=(80, 3))
    found = latent_distribution.kolmogorov_smirnov(process, z)
    scale = np.sqrt(process.variance * (FREEDOM - 2) / FREEDOM)
    for dimension in range(3):
        law = stats.t(FREEDOM[dimension], process.mean[dimension], scale[dimension])
        np.testing.assert_allclose(found[dimension], stats.kstest(z[:, dimension], law.cdf).statistic)


def test_critical_distance_is_rarely_exceeded():
    rng = np.random.default_rng(1)
    process = Marginals(np.zeros(2000), np.ones(2000), np.zeros(2000), None, None)
    distance = latent_distribution.kolmogorov_smirnov(process, rng.normal(size=(200, 2000)))
    exceeded = np.mean(distance > latent_distribution.critical_distance(200))
    assert abs(exceeded - 0.05) < 5 * np.sqrt(0.05 * 0.95 / 2000)


def test_shown_dimensions_are_distinct_and_cover_the_extremes():
    rng = np.random.default_rng(2)
    process, distance = Marginals(np.zeros(50), np.ones(50), rng.random(50), None, None), rng.random(50)
    chosen = latent_distribution.shown_dimensions(process, distance, 9)
    assert len(set(chosen.tolist())) == 9
    assert set(np.argsort(-process.correlation)[:3]) <= set(chosen[:3])
    assert np.argmax(distance) in chosen[:6]
    middle = np.median(distance)
    assert np.abs(distance[chosen[6:]] - middle).max() < 0.15
    few = latent_distribution.shown_dimensions(process._replace(correlation=process.correlation[:2]), distance[:2], 9)
    assert sorted(few.tolist()) == [0, 1]

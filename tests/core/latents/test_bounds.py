"""Importance-weighted bounds on a linear-Gaussian model of sets whose features is known, and the training objective."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from exflow.core.latents import bounds

SEED = 20211026
ELEMENT_VARIANCE, NOISE_VARIANCE = 0.8, 0.5  # z_s | c ~ N(c, first), x_s | z_s ~ N(z_s, second), c ~ N(0, 1)
SHIFT, WIDTH = 0.6, 1.6  # of q against the exact posteriors, in standard deviations
KL = 0.5 * (WIDTH**2 + SHIFT**2 - 1 - 2 * np.log(WIDTH))  # from q to the exact posterior, of c and of each z_s

UPDATE, FINALIZE = jax.jit(bounds.update), jax.jit(bounds.finalize)
IWAE_BOUND = jax.jit(bounds.iwae_bound, static_argnames="axis")
NESTED_BOUND = jax.jit(bounds.nested_bound)
NESTED_GRADIENT = jax.jit(jax.value_and_grad(lambda e, c, mask: bounds.nested_bound(c, e, mask).sum()))


class Toy(NamedTuple):
    """Sets of one size, weights of draws from an imperfect q, and the exact ln p(X)."""

    of_set: np.ndarray  # ln w_c [outer, sets]
    element: np.ndarray  # ln w_z_s [outer, inner, sets, size]
    log_evidence: np.ndarray  # [sets]


def toy(num_sets: int, size: int, outer: int, inner: int = 1, seed: int = SEED) -> Toy:
    rng = np.random.default_rng([seed, size, inner])
    marginal = ELEMENT_VARIANCE + NOISE_VARIANCE
    covariance = np.ones((size, size)) + marginal * np.eye(size)
    x = rng.multivariate_normal(np.zeros(size), covariance, num_sets)

    def draw(mean, variance, shape):
        """From q; with ln q of the draw."""
        law = stats.norm(mean + SHIFT * np.sqrt(variance), WIDTH * np.sqrt(variance))
        value = law.mean() + law.std() * rng.normal(size=shape)
        return value, law.logpdf(value)

    variance_c = 1 / (1 + size / marginal)
    c, log_q_c = draw(variance_c * x.sum(axis=1) / marginal, variance_c, (outer, num_sets))
    variance_z = 1 / (1 / ELEMENT_VARIANCE + 1 / NOISE_VARIANCE)
    mean_z = variance_z * (c[:, None, :, None] / ELEMENT_VARIANCE + x / NOISE_VARIANCE)
    z, log_q_z = draw(mean_z, variance_z, (outer, inner, num_sets, size))
    log_p = stats.norm.logpdf(x, z, NOISE_VARIANCE**0.5)
    log_p += stats.norm.logpdf(z, c[:, None, :, None], ELEMENT_VARIANCE**0.5)
    log_evidence = stats.multivariate_normal(np.zeros(size), covariance).logpdf(x)
    return Toy(stats.norm.logpdf(c) - log_q_c, log_p - log_q_z, log_evidence)


def log_weights(case: Toy) -> np.ndarray:
    """Plain weights of sets [outer, sets], by hand."""
    assert case.element.shape[1] == 1
    return case.of_set + case.element[:, 0].sum(axis=-1)


def run(weights: np.ndarray, *chunks: int) -> bounds.ImportanceEstimate:
    """The estimate from chunks of the given sizes."""
    state = bounds.init(weights.shape[1:], weights.dtype)
    for chunk in np.split(weights, np.cumsum(chunks)):
        state = UPDATE(state, jnp.asarray(chunk))
    return FINALIZE(state)


def test_streaming_equals_the_plain_formulas(x64):
    """For chunks of any size; weights from e^-5000 to e^5000."""
    weights = log_weights(toy(50, 4, 37)) + np.linspace(-5000, 5000, 50)
    expected = special.logsumexp(weights, axis=0) - np.log(37)
    shares = special.softmax(weights, axis=0)
    errors = (37 * shares).std(axis=0, ddof=1) / np.sqrt(37)  # the mean of 37 shares is 1
    for chunks in ((), (1, 18), (18, 18)):
        estimate = run(weights, *chunks)
        np.testing.assert_allclose(estimate.bound, expected, rtol=1e-12)
        np.testing.assert_allclose(estimate.standard_error, errors, rtol=1e-8)
        np.testing.assert_allclose(estimate.effective_sample_size, 1 / (shares**2).sum(axis=0), rtol=1e-8)
    np.testing.assert_allclose(IWAE_BOUND(jnp.asarray(weights)), expected, rtol=1e-12)
    np.testing.assert_allclose(IWAE_BOUND(jnp.asarray(weights.T), axis=-1), expected, rtol=1e-12)


def test_scan_over_chunks_in_float32():
    """As an evaluator runs it: one compiled loop."""
    weights = np.float32(log_weights(toy(20, 4, 120)))
    step = lambda state, chunk: (bounds.update(state, chunk), None)  # noqa: E731
    state, _ = jax.jit(functools.partial(jax.lax.scan, step))(bounds.init((20,)), weights.reshape(12, 10, 20))
    assert int(state.count) == 120
    expected = special.logsumexp(np.float64(weights), axis=0) - np.log(120)
    np.testing.assert_allclose(FINALIZE(state).bound, expected, atol=1e-5)


def test_one_sample_is_its_log_weight():
    weights = jnp.array([[-3.25, 1e4, -1e30]])
    estimate = run(np.asarray(weights))
    np.testing.assert_array_equal(estimate.bound, weights[0])
    np.testing.assert_array_equal(IWAE_BOUND(weights), weights[0])
    np.testing.assert_array_equal(estimate.effective_sample_size, 1.0)
    np.testing.assert_array_equal(estimate.standard_error, np.inf)


def test_impossible_and_invalid_samples():
    """A weight of zero counts as a sample; without any other the bound is -inf; what is not a number stays so."""
    weights = np.array([[0.0, -np.inf, 0.0], [-np.inf, -np.inf, np.nan]], np.float32)
    for chunks in ((), (1,)):
        estimate = run(weights, *chunks)
        np.testing.assert_allclose(estimate.bound, [-np.log(2), -np.inf, np.nan], rtol=1e-6)
        np.testing.assert_allclose(estimate.effective_sample_size[:2], [1, 0])
        np.testing.assert_allclose(estimate.standard_error[:2], [1, np.inf])
        assert not np.isfinite(estimate.standard_error[2])


def test_gradient_is_the_normalised_weights(x64):
    weights = jnp.asarray(log_weights(toy(3, 4, 9)))
    gradient = jax.jit(jax.grad(lambda w: IWAE_BOUND(w).sum()))(weights)
    np.testing.assert_allclose(gradient, special.softmax(weights, axis=0), rtol=1e-10)
    streamed = jax.grad(lambda w: FINALIZE(UPDATE(bounds.init(w.shape[1:], w.dtype), w)).bound.sum())
    np.testing.assert_allclose(jax.jit(streamed)(weights), gradient, rtol=1e-10)


def test_bound_rises_from_the_elbo_to_the_evidence():
    """300 sets of 5: K = 1 has the mean of the closed-form ELBO, and K = 1000 is within 0.02 nat per element."""
    case = toy(300, 5, 1000)
    weights = np.float32(log_weights(case))
    gaps = {k: np.float64(IWAE_BOUND(jnp.asarray(weights[:k]))) - case.log_evidence for k in (1, 10, 100, 1000)}
    error = gaps[1].std() / np.sqrt(300)
    assert abs(gaps[1].mean() + 6 * KL) < 5 * error, f"seed {SEED}"
    for few, many in ((1, 10), (10, 100), (100, 1000)):
        rise = gaps[many] - gaps[few]
        assert rise.mean() > -2 * rise.std() / np.sqrt(300)
        assert gaps[many].mean() < 2 * gaps[many].std() / np.sqrt(300)  # a lower bound
    assert abs(gaps[1000].mean()) / 5 < 0.02
    assert gaps[10].mean() - gaps[1].mean() > 1


def test_standard_error_is_the_spread_over_repetitions():
    """400 repetitions of one set; mean of the estimated variances against the observed one, within 5 sigma."""
    case = toy(1, 3, 400 * 500)
    weights = np.float32(log_weights(case)).reshape(500, 400)
    estimate = run(weights)
    spread = np.float64(estimate.bound).std(ddof=1)
    assert spread < 0.2  # the delta method is for small errors
    ratio = np.sqrt(np.mean(np.float64(estimate.standard_error) ** 2)) / spread
    assert abs(ratio - 1) < 5 / np.sqrt(2 * 400)
    assert 1 < float(estimate.effective_sample_size.min()) < float(estimate.effective_sample_size.max()) < 500


def test_nested_bound_by_loops(x64):
    case = toy(3, 4, 5, 6)
    mask = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], bool)
    expected = np.zeros(3)
    for s in range(3):
        per_outer = case.of_set[:, s].copy()
        for o in range(5):
            for n in np.flatnonzero(mask[s]):
                per_outer[o] += special.logsumexp(case.element[o, :, s, n]) - np.log(6)
        expected[s] = special.logsumexp(per_outer) - np.log(5)
    arguments = jnp.asarray(case.of_set), jnp.asarray(case.element)
    np.testing.assert_allclose(NESTED_BOUND(*arguments, jnp.asarray(mask)), expected, rtol=1e-12)
    unmasked = NESTED_BOUND(*arguments)
    np.testing.assert_allclose(unmasked[0], expected[0], rtol=1e-12)
    np.testing.assert_allclose(unmasked, NESTED_BOUND(*arguments, jnp.ones((3, 4), bool)), rtol=1e-12)
    plain = jax.jit(bounds.nested_log_weights)(arguments[0], arguments[1][:, :1])
    np.testing.assert_allclose(plain, case.of_set + case.element[:, 0].sum(axis=-1), rtol=1e-12)


@pytest.mark.parametrize("padding", [np.nan, np.inf, -np.inf, 1e30])
def test_masked_elements_change_nothing(padding):
    case = toy(2, 3, 4, 5)
    element = jnp.asarray(np.pad(case.element, [(0, 0)] * 3 + [(0, 2)], constant_values=padding), jnp.float32)
    of_set, mask = jnp.asarray(case.of_set, jnp.float32), jnp.arange(5)[None] < jnp.array([[3], [3]])
    value, gradient = NESTED_GRADIENT(element, of_set, mask)
    np.testing.assert_allclose(value, NESTED_BOUND(of_set, element[..., :3]).sum(), rtol=1e-6)
    np.testing.assert_array_equal(gradient[..., 3:], 0.0)
    assert bool(jnp.isfinite(gradient).all())


def test_nested_bound_is_tighter_at_equal_cost_and_more_so_for_larger_sets():
    """144 draws of each element's latent: in one loop, or 12 for each of 12 draws of the shared one; 60 sets each."""
    advantages = []
    for size in (5, 15, 40):
        single, nested = toy(60, size, 144), toy(60, size, 12, 12)
        single_gap = np.float64(IWAE_BOUND(jnp.float32(log_weights(single)))) - single.log_evidence
        nested_bound = NESTED_BOUND(jnp.float32(nested.of_set), jnp.float32(nested.element))
        nested_gap = np.float64(nested_bound) - nested.log_evidence
        assert nested_gap.mean() < 2 * nested_gap.std() / np.sqrt(60)  # a lower bound
        advantages.append(nested_gap.mean() - single_gap.mean())
    assert np.all(np.diff(advantages) > 0.1), f"seed {SEED}: {advantages}"
    assert advantages[-1] > 5 * np.sqrt((nested_gap.var() + single_gap.var()) / 60)


@pytest.mark.parametrize(
    ("alpha0", "step_factor", "table"),
    [
        (
            2,
            0.98,
            {
                0: (3.00, 0.111),
                10: (2.63, 0.144),
                20: (2.34, 0.183),
                50: (1.73, 0.335),
                100: (1.27, 0.625),
                200: (1.04, 0.933),
                400: (1.00, 0.999),
            },
        ),
        (2, 0.90, {0: (3.00, 0.111), 10: (1.70, 0.347), 20: (1.24, 0.647), 50: (1.01, 0.980), 100: (1.00, 1.000)}),
        (1, 0.50, {0: (2.00, 0.250), 10: (1.00, 0.998), 20: (1.00, 1.000)}),
    ],
)
def test_loss_weights_of_the_published_schedules(alpha0, step_factor, table):
    """The weight w to 2 decimals and beta = 1 / w^2 to 3."""
    loss_weight = functools.partial(bounds.loss_weight, alpha0, step_factor)
    w = np.asarray(jax.jit(jax.vmap(loss_weight))(np.array(list(table))))
    expected = np.array(list(table.values()))
    np.testing.assert_allclose(w, expected[:, 0], atol=0.0051)
    np.testing.assert_allclose(1 / w**2, expected[:, 1], atol=0.00051)


def test_weighted_elbo():
    log_prob, kl_z, kl_c = jnp.array([-60.0, -70.0]), jnp.array([25.0, 20.0]), jnp.array([5.0, 4.0])
    np.testing.assert_allclose(bounds.weighted_elbo(log_prob, kl_z, kl_c), [-90, -94])
    w = bounds.loss_weight(2.0, 0.98, 0)
    objective = bounds.weighted_elbo(log_prob, kl_z, kl_c, w)
    np.testing.assert_allclose(objective, [3 * -60 - 30 / 3, 3 * -70 - 24 / 3], rtol=1e-6)
    np.testing.assert_allclose(objective / w, log_prob - (kl_z + kl_c) / 9, rtol=1e-6)  # beta = 1 / w^2


def test_free_bits_values_and_gradients():
    kl, threshold = jnp.array([0.0, 0.3, 0.5, 0.8]), 0.5
    np.testing.assert_allclose(bounds.free_bits(kl, threshold), [0.5, 0.5, 0.5, 0.8])
    gradient = jax.jit(jax.grad(lambda kl: (bounds.free_bits(kl, threshold) * jnp.arange(1.0, 5.0)).sum()))(kl)
    np.testing.assert_array_equal(gradient, [0, 0, 0, 4])
    np.testing.assert_array_equal(bounds.free_bits(kl, 0.0), kl)
    gradient = jax.jit(jax.grad(lambda kl: bounds.free_bits(kl, 0.0).sum()))(kl)
    np.testing.assert_array_equal(gradient[1:], 1)


def test_free_bits_hide_no_divergence_that_is_not_a_number():
    np.testing.assert_array_equal(bounds.free_bits(jnp.array([jnp.nan, 0.1, 3.0]), 0.5), [np.nan, 0.5, 3.0])


def test_free_bits_keep_levels_from_collapsing():
    """Gradient descent on the KL terms alone: one without free bits ends at 0, the others at their threshold."""

    def kl_per_level(means):  # [batch, level]: of N(mean, 1) from N(0, 1)
        return (0.5 * means**2).mean(axis=0)

    def descend(threshold: float) -> np.ndarray:
        slope = jax.grad(lambda means: bounds.free_bits(kl_per_level(means), threshold).sum())
        start = np.float32(np.random.default_rng(SEED).normal(size=(8, 3)) * np.array([0.5, 2.0, 3.0]))
        steps = lambda start: jax.lax.fori_loop(0, 500, lambda _, means: means - 0.1 * slope(means), start)  # noqa: E731
        return np.asarray(jax.jit(lambda start: kl_per_level(steps(start)))(start))

    start_below, *above = descend(0.7)
    np.testing.assert_allclose(above, 0.7, rtol=0.03)  # one step of descent below
    assert 0.05 < start_below < 0.7
    np.testing.assert_allclose(descend(0.0), 0.0, atol=1e-2)

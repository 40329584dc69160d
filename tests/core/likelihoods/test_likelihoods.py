"""Observation models against scipy and plain formulas, on every pixel value and at extreme outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from exflow.core.likelihoods.likelihood import LIKELIHOODS, likelihood
from exflow.errors import UserError

SEED = 20220701
PIXELS = np.arange(256, dtype=np.uint8).reshape(256, 1, 1, 1)
NUM_OUTPUTS = {  # for 1 and for 3 channels
    "bernoulli": (1, 3),
    "gaussian": (2, 6),
    "gaussian_pixels": (2, 6),
    "discretized_gaussian": (2, 6),
    "logistic_mixture": (30, 100),
}
DISCRETE = [name for name, law in LIKELIHOODS.items() if law.discrete]
LOG_PROB = {name: jax.jit(law.log_prob) for name, law in LIKELIHOODS.items()}
TO_VALUES = {name: jax.jit(law.to_values) for name, law in LIKELIHOODS.items()}
TO_PIXELS = {name: jax.jit(law.to_pixels) for name, law in LIKELIHOODS.items()}
MEAN = {name: jax.jit(law.mean) for name, law in LIKELIHOODS.items()}
each_law = pytest.mark.parametrize("name", NUM_OUTPUTS)


def random_outputs(name: str, channels: int, *lead: int, seed: int = SEED) -> np.ndarray:
    """Means and scales of the size that a trained decoder has; float64."""
    rng = np.random.default_rng(seed)
    outputs = rng.normal(size=(*lead, likelihood(name).num_outputs(channels)))
    if name == "discretized_gaussian":
        outputs *= np.repeat([0.7, 2.0], channels)
        outputs -= np.repeat([0.0, 3.0], channels)
    if name == "logistic_mixture":
        parts = outputs[..., 10:].reshape(*lead, channels, -1, 10)
        parts[..., 1, :] -= 3.0  # log scales
    return outputs


def random_values(name: str, channels: int, *lead: int) -> np.ndarray:
    rng = np.random.default_rng(SEED + 1)
    if name == "gaussian":
        return rng.normal(size=(*lead, channels)) * 2
    x = rng.choice(np.array([0, 1, 2, 60, 128, 200, 254, 255], np.uint8), (*lead, channels))
    return np.asarray(TO_VALUES[name](None, jnp.asarray(x)), np.float64)


def exact_log_probs(name: str, outputs: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Plain formulas; per entry, or per pixel for the mixture."""
    if name == "bernoulli":
        return stats.bernoulli.logpmf(values.astype(int), special.expit(outputs))
    if name == "logistic_mixture":
        return exact_mixture(outputs, values)
    mean, log_variance = np.split(outputs, 2, axis=-1)
    if name == "discretized_gaussian":
        mean, log_variance = np.longdouble(mean), np.longdouble(log_variance)
        return np.float64(exact_discretized_gaussian(mean, np.exp(0.5 * np.minimum(log_variance, 1)), values))
    mean = special.expit(mean) if name == "gaussian_pixels" else mean
    return stats.norm.logpdf(values, mean, np.exp(0.5 * np.clip(log_variance, -4, 3)))


def exact_discretized_gaussian(mean: np.ndarray, scale: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The formula as it is written, whose differences near the floor of 1e-12 need 80-bit numbers."""

    def cdf(u: np.ndarray) -> np.ndarray:
        return 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (u + 0.044715 * u**3)))

    upper, lower = cdf((values - mean + 1 / 255) / scale), cdf((values - mean - 1 / 255) / scale)
    probability = np.where(values < -0.999, upper, np.where(values > 0.999, 1 - lower, upper - lower))
    return np.log(np.maximum(probability, 1e-12))


def exact_mixture(outputs: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Outputs [..., 30 or 100] and values [..., 1 or 3], in a loop over mixtures and colours."""
    channels = values.shape[-1]
    weights = special.softmax(outputs[..., :10], axis=-1)
    total = np.zeros(values.shape[:-1])
    for k in range(10):
        probability = weights[..., k].copy()
        for c in range(channels):
            at = 10 + c * (30 if channels == 3 else 20) + k
            mean, log_scale = outputs[..., at].copy(), np.maximum(outputs[..., at + 10], -7)
            if c == 1:
                mean += np.tanh(outputs[..., 10 + 20 + k]) * values[..., 0]
            if c == 2:
                mean += np.tanh(outputs[..., 40 + 20 + k]) * values[..., 0]
                mean += np.tanh(outputs[..., 70 + 20 + k]) * values[..., 1]
            upper, lower = ((values[..., c] - mean + side / 255) * np.exp(-log_scale) for side in (1, -1))
            far = np.where(upper + lower > 0, -lower, upper)  # the law is symmetric; its lower tail keeps digits
            inner = special.expit(far) - special.expit(far - (upper - lower))
            edges = np.where(values[..., c] < 0, special.expit(upper), special.expit(-lower))
            probability *= np.where(np.abs(values[..., c]) > 0.999, edges, inner)
        total += probability
    return np.log(total)


@each_law
def test_number_of_outputs_and_name(name):
    law = likelihood(name)
    assert law.name == name
    assert (law.num_outputs(1), law.num_outputs(3)) == NUM_OUTPUTS[name]
    assert law.discrete == (name in ("bernoulli", "discretized_gaussian", "logistic_mixture"))


def test_every_law_is_tested():
    assert set(LIKELIHOODS) == {*NUM_OUTPUTS, "bernoulli_clipped"}  # the latter below


def test_mistakes_say_how_to_fix_them():
    with pytest.raises(UserError, match="expected one of bernoulli, bernoulli_clipped, gaussian, .*got 'poisson'"):
        likelihood("poisson")
    with pytest.raises(UserError, match="images of 1 or 3 channels, got 2. Use discretized_gaussian"):
        likelihood("logistic_mixture").num_outputs(2)
    with pytest.raises(TypeError, match="8-bit pixels of dtype uint8 for likelihood bernoulli, got float32"):
        likelihood("bernoulli").to_values(None, jnp.zeros((1, 1, 1)))
    with pytest.raises(TypeError, match="vectors of dtype float32 for likelihood gaussian, got uint8"):
        likelihood("gaussian").to_values(None, jnp.zeros((1, 1, 1), jnp.uint8))
    with pytest.raises(ValueError, match="expected 6 channels for likelihood gaussian of 3 channels, got 2"):
        likelihood("gaussian").log_prob(jnp.zeros((1, 1, 2)), jnp.zeros((1, 1, 3)))


@each_law
@pytest.mark.parametrize("channels", [1, 3])
def test_log_prob_equals_the_formula(x64, name, channels):
    """Images of 2 x 3 pixels under two leading axes, summed; values at and beside the ends of the range."""
    lead = (4, 5, 2, 3)
    outputs, values = random_outputs(name, channels, *lead), random_values(name, channels, *lead)
    exact = exact_log_probs(name, outputs, values).reshape(4, 5, -1).sum(axis=-1)
    np.testing.assert_allclose(LOG_PROB[name](jnp.asarray(outputs), jnp.asarray(values)), exact, rtol=1e-8)


@each_law
@pytest.mark.parametrize("channels", [1, 3])
def test_float32_and_lower_precision(name, channels):
    """Single pixels, so that no error hides in a sum; bfloat16 outputs are scored in float32."""
    outputs, values = random_outputs(name, channels, 400, 1, 1), random_values(name, channels, 400, 1, 1)
    outputs, values = np.float32(outputs), np.float32(values)
    exact = exact_log_probs(name, np.float64(outputs), np.float64(values)).reshape(400, -1).sum(axis=-1)
    single = LOG_PROB[name](jnp.asarray(outputs), jnp.asarray(values))
    np.testing.assert_allclose(single, exact, rtol=2e-5, atol=2e-5)
    half = jnp.asarray(outputs, jnp.bfloat16)
    from_half = LOG_PROB[name](half, jnp.asarray(values))
    assert from_half.dtype == jnp.float32
    np.testing.assert_allclose(from_half, LOG_PROB[name](half.astype(jnp.float32), jnp.asarray(values)), rtol=1e-6)


@pytest.mark.parametrize("name", ["discretized_gaussian", "logistic_mixture"])
def test_probabilities_of_all_pixel_values_sum_to_one(name):
    """In float32, from laws much narrower than a bin to laws much wider than the range."""
    values = TO_VALUES[name](None, jnp.asarray(PIXELS))
    outputs = random_outputs(name, 1, 32, 1, 1, 1)
    half = outputs.shape[-1] // 2 if name == "discretized_gaussian" else 20
    outputs[..., half:] = np.linspace(-12, 6, 32).reshape(32, 1, 1, 1, 1)
    log_probs = LOG_PROB[name](jnp.asarray(outputs, jnp.float32), values[None])
    assert log_probs.shape == (32, 256)
    np.testing.assert_allclose(np.exp(np.float64(log_probs)).sum(axis=1), 1, atol=1e-4)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_probabilities_of_a_colour_given_the_earlier_ones_sum_to_one(channel):
    """Colours whose mean is far above the range are white with probability one, which takes them out of the sum."""
    outputs = random_outputs("logistic_mixture", 3, 20, 1, 1, 1)
    parts = outputs[..., 10:].reshape(20, 1, 1, 1, 3, 3, 10)
    parts[..., channel + 1 :, 0, :] = 1e4
    x = np.full((1, 256, 1, 1, 3), 255, np.uint8)
    x[..., :channel] = (70, 180, 0)[:channel]
    earlier = x[:, :1].copy()
    x[..., channel] = PIXELS[None, ..., 0]
    log_probs = score("logistic_mixture", outputs, x)
    parts[..., channel, 0, :] = 1e4
    conditional = np.exp(log_probs - score("logistic_mixture", outputs, earlier))
    np.testing.assert_allclose(conditional.sum(axis=1), 1, atol=1e-4)


def score(name: str, outputs: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Float32 log probabilities of pixels, as float64."""
    values = TO_VALUES[name](None, jnp.asarray(x))
    return np.float64(LOG_PROB[name](jnp.asarray(outputs, jnp.float32), values))


@each_law
@pytest.mark.parametrize("channels", [1, 3])
def test_extreme_outputs_have_finite_log_probs_and_gradients(name, channels):
    rng = np.random.default_rng(SEED)
    size = (2000, 1, 1, NUM_OUTPUTS[name][channels // 2])
    sizes = rng.choice([0.0, 1.0, 30.0, 1e3, 1e5, 1e8, 1e15], size)
    outputs = jnp.asarray(sizes * rng.choice([-1.0, 1.0], size), jnp.float32)
    values = jnp.asarray(random_values(name, channels, 2000, 1, 1), jnp.float32)
    value_and_grad = jax.value_and_grad(lambda *args: likelihood(name).log_prob(*args).sum())
    summed, gradient = jax.jit(value_and_grad)(outputs, values)
    assert np.isfinite(summed)
    assert bool(jnp.isfinite(gradient).all())
    if name in DISCRETE:
        assert float(LOG_PROB[name](outputs, values).max()) <= 1e-6


@pytest.mark.parametrize("name", ["bernoulli", "logistic_mixture"])
def test_gradients_do_not_vanish_where_the_model_is_wrong(name):
    """A confident mistake is still corrected, where clamped probabilities or float32 differences have no gradient."""
    outputs = {"bernoulli": np.full(1, -60.0), "logistic_mixture": np.repeat([0.0, -0.9, -7.0], 10)}[name]
    value = likelihood(name).to_values(None, jnp.full((1, 1, 1), 200, jnp.uint8))
    gradient = jax.jit(jax.grad(likelihood(name).log_prob))(jnp.asarray(outputs, jnp.float32).reshape(1, 1, -1), value)
    mean = gradient[0, 0, 0] if name == "bernoulli" else gradient[0, 0, 10:20].sum()
    np.testing.assert_allclose(mean, 1.0 if name == "bernoulli" else np.exp(7), rtol=1e-4)


@each_law
def test_pixels_survive_a_round_trip(name):
    x = jnp.asarray(PIXELS if name != "bernoulli" else PIXELS[[0, 255]])
    x = x.astype(jnp.float32) / 7 if name == "gaussian" else x
    values = TO_VALUES[name](None, x)
    assert values.dtype == jnp.float32
    returned = TO_PIXELS[name](values)
    assert returned.dtype == x.dtype
    np.testing.assert_array_equal(returned, x)
    if name != "gaussian":
        np.testing.assert_array_equal(TO_PIXELS[name](np.array([-7.0, 7.0], np.float32)), [0, 255])


def test_gradient_at_zero_logits_is_that_of_the_law():
    """Where a network begins whose last layer is zero."""
    for value in (0.0, 0.3, 1.0):
        gradient = jax.grad(likelihood("bernoulli").log_prob)(jnp.zeros((1, 1, 1)), jnp.full((1, 1, 1), value))
        np.testing.assert_allclose(gradient, value - 0.5, rtol=1e-6)


def test_clipped_logits_are_those_of_a_bernoulli_between_15_and_minus_15(x64):
    law, logits = LIKELIHOODS["bernoulli_clipped"], np.array([-1e9, -40.0, -15.0, -1.3, 0.0, 2.0, 14.9, 15.1, 1e30])
    outputs = jnp.asarray(logits.reshape(-1, 1, 1, 1))
    p = special.expit(np.clip(logits, -15, 15))
    np.testing.assert_allclose(law.mean(outputs).ravel(), p, rtol=1e-12)
    for value in (0, 1):
        value_and_grad = jax.value_and_grad(
            lambda outputs, value=value: law.log_prob(outputs, 0 * outputs + value).sum()
        )
        summed, gradient = value_and_grad(outputs)
        np.testing.assert_allclose(summed, stats.bernoulli.logpmf(value, p).sum(), rtol=1e-9)
        inside = np.abs(logits) < 15
        np.testing.assert_allclose(gradient.ravel()[inside], (value - p)[inside], rtol=1e-9)
        np.testing.assert_array_equal(gradient.ravel()[np.abs(logits) > 15], 0.0)
        assert law.log_prob(outputs, jnp.full_like(outputs, value)).min() > -15.000001
    assert (law.num_outputs(3), law.discrete) == (3, True)


def test_zero_logits_cost_one_bit_per_pixel():
    log_prob = likelihood("bernoulli").log_prob(jnp.zeros((28, 28, 1)), jnp.ones((28, 28, 1)))
    np.testing.assert_allclose(log_prob, -543.4, atol=0.05)


def test_binarization():
    """Thresholded without a key; with one each pixel is drawn with probability x / 255."""
    to_values, num = TO_VALUES["bernoulli"], 4_000
    np.testing.assert_array_equal(to_values(None, PIXELS), PIXELS >= 128)
    draws = np.asarray(to_values(jax.random.key(SEED), np.tile(PIXELS[None], (num, 1, 1, 1, 1))))
    p = PIXELS / 255
    assert set(np.unique(draws)) == {0.0, 1.0}
    assert (abs(draws.mean(axis=0) - p) <= 5 * np.sqrt(p * (1 - p) / num)).all(), f"seed {SEED}"


@each_law
@pytest.mark.parametrize("channels", [1, 3])
def test_means(name, channels):
    outputs = random_outputs(name, channels, 2, 4, 4)
    mean = np.asarray(MEAN[name](np.float32(outputs)))
    assert mean.shape == (2, 4, 4, channels)
    raw = outputs[..., :channels]
    if name == "logistic_mixture":
        parts = outputs[..., 10:].reshape(2, 4, 4, channels, -1, 10)
        weights = special.softmax(outputs[..., :10], axis=-1)
        red = np.clip(parts[..., 0, 0, :], -1, 1)
        np.testing.assert_allclose(mean[..., 0], (weights * red).sum(axis=-1), atol=1e-5)
        if channels == 3:
            green = np.clip(parts[..., 1, 0, :] + np.tanh(parts[..., 0, 2, :]) * red, -1, 1)
            blue = parts[..., 2, 0, :] + np.tanh(parts[..., 1, 2, :]) * red + np.tanh(parts[..., 2, 2, :]) * green
            np.testing.assert_allclose(mean[..., 1], (weights * green).sum(axis=-1), atol=1e-5)
            np.testing.assert_allclose(mean[..., 2], (weights * np.clip(blue, -1, 1)).sum(axis=-1), atol=1e-5)
        return
    link = {"gaussian": np.asarray, "discretized_gaussian": lambda m: np.clip(m, -1, 1)}.get(name, special.expit)
    np.testing.assert_allclose(mean, link(raw), rtol=1e-5, atol=1e-6)

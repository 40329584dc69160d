"""Pixels as bins of [-1, 1], and their probabilities against 80-bit differences."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from exflow.core.likelihoods.pixel_bins import HALF_BIN, bin_centers, log_bin_probability, nearest_center, pixels

PIXELS = jnp.arange(256, dtype=jnp.uint8)


def test_bins_tile_the_line():
    """Every real number belongs to the pixel whose centre is nearest."""
    centers = np.float64(bin_centers(PIXELS))
    np.testing.assert_allclose(np.diff(centers), 2 * HALF_BIN, atol=2e-7)
    for offset in (-0.99, 0.0, 0.99):
        inside = jnp.asarray(centers + offset * HALF_BIN, jnp.float32)
        np.testing.assert_array_equal(pixels(inside), PIXELS)
        np.testing.assert_allclose(nearest_center(inside), centers, atol=2e-7)
    far = jnp.array([-1e9, -1.5, 1.5, 1e9])
    np.testing.assert_array_equal(pixels(far), [0, 0, 255, 255])
    np.testing.assert_array_equal(nearest_center(far), [-1, -1, 1, 1])


def test_log_probability_of_a_bin(x64):
    """From gaps of 1e-6 to 100, in both tails, and at the two bins that reach to infinity."""
    lower, gap = (part.ravel() for part in np.meshgrid(np.linspace(-60, 60, 41), 10 ** np.linspace(-6, 2, 33)))
    upper = lower + gap
    far = np.where(lower + upper > 0, -lower, upper)  # the law is symmetric; its lower tail keeps digits
    exact = np.log(special.expit(np.longdouble(far)) - special.expit(np.longdouble(far) - np.longdouble(gap)))
    arguments = [jnp.asarray(part) for part in (lower, upper, np.log(gap))]
    for value, expected in ((0.3, np.float64(exact)), (-1, special.log_expit(upper)), (1, special.log_expit(-lower))):
        log_probs = log_bin_probability(jnp.full(lower.shape, value, jnp.float64), *arguments)
        np.testing.assert_allclose(log_probs, expected, rtol=1e-10, atol=1e-12)


def test_log_probability_has_exact_gradients_in_float32():
    """Far in the upper tail ln P is ln gap - upper logit, up to terms of the order of the gap."""

    def log_prob(shift, log_gap):
        upper = jnp.float32(80.0) + shift
        return log_bin_probability(jnp.float32(0.0), upper - jnp.exp(log_gap), upper, log_gap)

    for log_gap in (-20.0, -6.0):
        slope = jax.grad(log_prob, argnums=(0, 1))(jnp.float32(0.0), jnp.float32(log_gap))
        np.testing.assert_allclose(slope, [-1, 1], atol=3e-3)

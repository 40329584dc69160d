"""The rational-quadratic spline by itself: identity, monotonicity, inverse, continuity and its ends."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from exflow.core.bijectors.coupling import alternate
from exflow.core.bijectors.spline import MIN_SHARE, MIN_SLOPE, num_outputs, spline, spline_coupling
from exflow.typing import Network
from tests.core.registry import mixing_network

BINS, BOUND = 6, 3.0
COMPILED = jax.jit(spline, static_argnums=(2, 3))


def reference(raw: np.ndarray, x: float) -> float:
    """Equation 4 of the paper for one entry, knot by knot."""
    softmax = [np.exp(part) / np.exp(part).sum() for part in (raw[:BINS], raw[BINS : 2 * BINS])]
    widths, heights = (2 * BOUND * (MIN_SHARE + (1 - BINS * MIN_SHARE) * share) for share in softmax)
    slopes = np.r_[1, MIN_SLOPE + np.log1p(np.exp(raw[2 * BINS :] + np.log(np.expm1(1 - MIN_SLOPE)))), 1]
    left, bottom = (np.r_[-BOUND, -BOUND + np.cumsum(lengths)] for lengths in (widths, heights))
    if not -BOUND < x < BOUND:
        return x
    k = np.searchsorted(left, x, side="right") - 1
    t, s = (x - left[k]) / widths[k], heights[k] / widths[k]
    rise = heights[k] * (s * t**2 + slopes[k] * t * (1 - t))
    return bottom[k] + rise / (s + (slopes[k + 1] + slopes[k] - 2 * s) * t * (1 - t))


def random_raw(shape: tuple[int, ...], scale: float = 2.0) -> np.ndarray:
    return scale * np.random.default_rng(0).normal(size=(*shape, num_outputs(BINS)))


def test_equals_the_paper(x64):
    x = np.linspace(-4, 4, 60)
    raw = random_raw((60,))
    mapped, log_slope = COMPILED(raw, x, BOUND, False)
    np.testing.assert_allclose(mapped, [reference(*pair) for pair in zip(raw, x, strict=True)], rtol=1e-12, atol=1e-12)
    step = 1e-6
    numeric = [(reference(r, a + step) - reference(r, a - step)) / (2 * step) for r, a in zip(raw, x, strict=True)]
    np.testing.assert_allclose(np.exp(log_slope), numeric, rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_increases_and_has_the_inverse(x64, scale):
    """One spline for many entries, knots included; extreme raw values too."""
    raw = np.broadcast_to(random_raw((), scale), (2001, num_outputs(BINS)))
    x = np.linspace(-3.3, 3.3, 2001)
    mapped, log_slope = COMPILED(raw, x, BOUND, False)
    assert (np.diff(mapped) > 0).all()
    np.testing.assert_array_equal(np.asarray(mapped)[abs(x) >= BOUND], x[abs(x) >= BOUND])
    recovered, inverse_log_slope = COMPILED(raw, mapped, BOUND, True)
    np.testing.assert_allclose(recovered, x, atol=1e-9)
    np.testing.assert_allclose(inverse_log_slope, -log_slope, atol=1e-5)


def test_raw_zeros_are_the_identity():
    x = jnp.linspace(-4, 4, 41)
    for inverse in (False, True):
        mapped, log_slope = COMPILED(jnp.zeros((41, num_outputs(BINS))), x, BOUND, inverse)
        np.testing.assert_allclose(mapped, x, atol=2e-6)
        np.testing.assert_allclose(log_slope, 0.0, atol=2e-6)


def test_gradients_are_finite_everywhere():
    """At the bounds, far beyond them, on a knot, and for raw values at which softmax and softplus saturate."""
    x = jnp.array([-BOUND, BOUND, 1e6, 0.0, 1.0])

    @functools.partial(jax.jit, static_argnums=2)
    def grads(raw, x, inverse):
        return jax.grad(lambda *inputs: sum(part.sum() for part in spline(*inputs, BOUND, inverse)), (0, 1))(raw, x)

    for raw in (jnp.zeros((5, num_outputs(BINS))), jnp.asarray(random_raw((5,), 200.0), jnp.float32)):
        for inverse in (False, True):
            assert all(np.isfinite(grad).all() for grad in grads(raw, x, inverse))


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="num_bins: expected at least 2 and less than 1000, got 1"):
        spline_coupling(alternate(0), mixing_network(), num_bins=1)
    with pytest.raises(ValueError, match=r"bound: expected a positive number, got 0\.0"):
        spline_coupling(alternate(0), mixing_network(), bound=0.0)
    pair = Network(lambda key, x, context=None: (), lambda params, x, context=None: (x, x))
    with pytest.raises(ValueError, match=r"conditioner: expected one output of shape \(2, 4, 23\), got tuple"):
        spline_coupling(alternate(0), pair).forward((), jnp.zeros((2, 4)))


def test_derivatives_at_inner_knots_are_the_slopes_there(x64):
    """The spline is smooth at a knot, where the share of the bin is exactly 0."""
    raw = random_raw(())
    slope_there = MIN_SLOPE + np.log1p(np.exp(raw[2 * BINS :] + np.log(np.expm1(1 - MIN_SLOPE))))
    lengths = [
        2 * BOUND * (MIN_SHARE + (1 - BINS * MIN_SHARE) * special.softmax(part)) for part in (raw[:6], raw[6:12])
    ]
    starts = [part @ np.triu(np.ones((BINS, BINS)), 1) - BOUND for part in lengths]
    for inverse, knots in enumerate(starts):
        slope_at = jax.vmap(jax.grad(lambda x, inverse=inverse: spline(jnp.asarray(raw), x, BOUND, bool(inverse))[0]))
        derivative = jax.jit(slope_at)(knots[1:])
        np.testing.assert_allclose(derivative, 1 / slope_there if inverse else slope_there, rtol=1e-10)

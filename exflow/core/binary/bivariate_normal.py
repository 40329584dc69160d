"""The distribution function of two correlated standard normal variables, in closed form of Owen's T function."""

import numpy as np
from jaxtyping import Float64
from scipy.special import ndtr, owens_t

Values = Float64[np.ndarray, "*lead"]
TINY = 1e-290  # in place of 0: ratios of two such numbers are right, and the function is continuous


def cdf(h: Values, k: Values, correlation: Values) -> Values:
    """P(a <= h, b <= k) for standard normal a, b with a correlation; absolute error about 1e-15.

    Phi2 = (Phi(h) + Phi(k) - [h k < 0]) / 2 - T(h, (k / h - r) / s) - T(k, (h / k - r) / s), s = sqrt(1 - r^2), and
    min(Phi(h), Phi(k)) or max(Phi(h) + Phi(k) - 1, 0) where r is 1 or -1.

    Args:
      h: Any real numbers.
      k: The same.
      correlation: r in [-1, 1].

    Source: Owen 1956, "Tables for computing bivariate normal probabilities", equation 2.1.
    """
    h, k = (np.where(np.abs(value) < TINY, TINY, value) for value in (h, k))
    spread = np.sqrt((1.0 - correlation) * (1.0 + correlation))
    inner = spread > 0
    divisor = np.where(inner, spread, 1.0)
    below_h, below_k = ndtr(h), ndtr(k)
    with np.errstate(over="ignore"):
        by_h = owens_t(h, _residual(k, h, correlation) / h / divisor)
        by_k = owens_t(k, _residual(h, k, correlation) / k / divisor)
    opposite = (h < 0) != (k < 0)
    found = (below_h + below_k - opposite) / 2.0 - by_h - by_k
    extreme = np.where(correlation > 0, np.minimum(below_h, below_k), np.maximum(below_h - ndtr(-k), 0.0))
    return np.where(inner, np.maximum(found, 0.0), extreme)


def slope(h: Values, k: Values, angle: Values) -> Values:
    """Derivative of `cdf` at the correlation sin(angle) by the angle, exp(-(h^2 + k^2 - 2 h k r) / (2 s^2)) / (2 pi).

    Source: Plackett 1954, "A reduction formula for normal multivariate integrals".
    """
    r, square = np.sin(angle), np.cos(angle) ** 2
    exponent = (h**2 + k**2 - 2.0 * h * k * r) / np.maximum(2.0 * square, TINY)
    return np.exp(-exponent) / (2.0 * np.pi)


def _residual(value: Values, given: Values, correlation: Values) -> Values:
    """value - correlation * given, without cancellation where the correlation is near 1 or -1."""
    sign = np.where(correlation < 0, -1.0, 1.0)
    return (value - sign * given) + sign * (1.0 - np.abs(correlation)) * given

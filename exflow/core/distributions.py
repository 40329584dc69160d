"""Log densities in forms that stay accurate in float32."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exflow.core.ranges import at_least

LOG_2_PI = math.log(2 * math.pi)


def normal_log_prob(
    squared_residual: Float[Array, "*#shape"], variance: Float[Array, "*#shape"]
) -> Float[Array, "..."]:
    """Log density of a Gaussian, from (x - mean)^2 and the variance; elementwise, nats."""
    return -0.5 * (LOG_2_PI + jnp.log(variance) + squared_residual / variance)


@jax.custom_jvp
def log_gamma_ratio_correction(h: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """ln Gamma(h + 1/2) - ln Gamma(h) - 1/2 ln h, elementwise, for h > 0.

    The difference of two `gammaln` in float32 is off by 4e-4 for h < 1e3 and by more than 1 for h = 1e6. Here: the
    asymptotic series for h >= 8; below, eight steps of Gamma(h + 1) = h Gamma(h) lead there under one logarithm. The
    absolute error is below 3e-14 in float64. The result falls like -1 / (8 h), so that a Student-t density built on it
    becomes the Gaussian one without cancellation.

    Args:
      h: Half the degrees of freedom, above zero.

    Returns:
      Values in (-inf, 0).

    Source: Tricomi and Erdelyi 1951 (ratio of gamma functions); coefficients 1/8, 1/192, 1/640, 17/14336, 31/18432,
    691/180224.
    """
    small = jnp.minimum(h, 8.0)  # both branches stay finite
    product = jnp.sqrt((small + 8.0) / small)
    for j in range(8):
        product = product * ((small + j) / (small + (j + 0.5)))
    return jnp.where(h < 8.0, jnp.log(product) + _series(small + 8.0), _series(at_least(h, 8.0)))


@log_gamma_ratio_correction.defjvp
def _log_gamma_ratio_correction_jvp(primals, tangents):
    """The derivative in closed form: one array is kept for the backward pass instead of all intermediate products."""
    (h,), (tangent,) = primals, tangents
    small = jnp.minimum(h, 8.0)
    derivative = 0.5 / (small + 8.0) - 0.5 / small + _series_derivative(small + 8.0)
    for j in range(8):
        derivative = derivative + 0.5 / ((small + j) * (small + (j + 0.5)))
    derivative = jnp.where(h < 8.0, derivative, _series_derivative(at_least(h, 8.0)))
    return log_gamma_ratio_correction(h), derivative * tangent


# ln Gamma(h + 1/2) - ln Gamma(h) - 1/2 ln h = -1/(8 h) + 1/(192 h^3) - ..., odd powers of 1/h from the highest down
_SERIES = ((11, 691 / 180224), (9, -31 / 18432), (7, 17 / 14336), (5, -1 / 640), (3, 1 / 192), (1, -1 / 8))


def _series(h: Array) -> Array:
    inverse = 1.0 / h
    result = jnp.zeros_like(h)
    for _, coefficient in _SERIES:
        result = result * inverse**2 + coefficient
    return result * inverse


def _series_derivative(h: Array) -> Array:
    inverse = 1.0 / h
    result = jnp.zeros_like(h)
    for power, coefficient in _SERIES:
        result = result * inverse**2 - power * coefficient
    return result * inverse**2


def without_overflow(
    excess_degrees_of_freedom: Float[Array, "*#shape"], variance: Float[Array, "*#shape"]
) -> Float[Array, "..."]:
    """nu - 2, limited where its product with the variance would overflow: XLA computes (r^2 / k) / b as r^2 / (k b).

    In float32 the limit is above 1e20 for variances below 1e16; a density with as many degrees of freedom is the
    Gaussian one, up to rounding.
    """
    limit = jnp.finfo(variance.dtype).max / 64.0 / jnp.maximum(variance, 1.0)
    return jnp.minimum(excess_degrees_of_freedom, jax.lax.stop_gradient(jnp.maximum(limit, 1e8)))


def student_t_log_prob(
    squared_residual: Float[Array, "*#shape"],
    variance: Float[Array, "*#shape"],
    excess_degrees_of_freedom: Float[Array, "*#shape"],
) -> Float[Array, "..."]:
    """Log density of a Student-t, parametrised by its variance; elementwise, nats.

    Args:
      squared_residual: (x - mean)^2.
      variance: Variance (not the squared scale), above zero.
      excess_degrees_of_freedom: Degrees of freedom minus 2, above zero; 1e30 is the Gaussian to float precision.

    Returns:
      ln p(x).
    """
    excess = without_overflow(excess_degrees_of_freedom, variance)
    zero = jnp.zeros_like(excess)
    return student_t_predictive_log_prob(squared_residual / variance, variance, excess, zero, zero)


def student_t_predictive_log_prob(
    innovation: Float[Array, "*#shape"],
    gaussian_variance: Float[Array, "*#shape"],
    excess_degrees_of_freedom: Float[Array, "*#shape"],
    count: Float[Array, "*#shape"],
    quadratic_form: Float[Array, "*#shape"],
) -> Float[Array, "..."]:
    """Log density of the next element of a Student-t process; elementwise, nats.

    With a = nu + count and b = nu - 2 + beta it is ln Gamma((a + 1) / 2) - ln Gamma(a / 2) - 1/2 ln(pi k b)
    - (a + 1) / 2 ln(1 + q / b), rearranged so that nothing cancels for large nu: 1/2 ln(b / a) is a `log1p`.

    Args:
      innovation: q = (x - mean)^2 / k.
      gaussian_variance: k, the predictive variance of the Gaussian process with the same covariances.
      excess_degrees_of_freedom: nu - 2 of the process, above zero; see `without_overflow`.
      count: Number of elements seen.
      quadratic_form: beta, the Mahalanobis square of the elements seen.

    Returns:
      ln p(x | elements seen).

    Source: Shah et al. 2014, arXiv:1402.4306, lemma 3; Korshunova et al. 2018, arXiv:1802.07535, section 2.
    """
    a = excess_degrees_of_freedom + (2.0 + count)
    b = excess_degrees_of_freedom + quadratic_form
    log_ratio = jnp.where(b < 0.5 * a, jnp.log(b / a), jnp.log1p(at_least((quadratic_form - count - 2.0) / a, -0.5)))
    normaliser = log_gamma_ratio_correction(0.5 * a) - 0.5 * (LOG_2_PI + jnp.log(gaussian_variance) + log_ratio)
    return normaliser - 0.5 * (a + 1.0) * jnp.log1p(innovation / b)


def log_evidence_ratio(
    excess_degrees_of_freedom: Float[Array, "*#shape"],
    count: Float[Array, "*#shape"],
    quadratic_form: Float[Array, "*#shape"],
) -> Float[Array, "..."]:
    """ln of the Student-t over the Gaussian joint density of a set with one covariance matrix; elementwise, nats.

    With a = nu + n, u = (nu - 2 + beta) / a - 1, D(u) = u - ln(1 + u) >= 0 and the Stirling correction
    s(x) = ln Gamma(x) - (x - 1/2) ln x + x - 1/2 ln(2 pi) it is

        a / 2 D(u) - nu / 2 D(-2 / nu) - 1/2 ln(1 + n / nu) + s(a / 2) - s(nu / 2),

    in which nothing large cancels: it is 0 for the empty set and goes to 0 for large nu.

    Args:
      excess_degrees_of_freedom: nu - 2, above zero.
      count: n, the size of the set.
      quadratic_form: beta, the Mahalanobis square of the set.

    Returns:
      ln p(set | Student-t) - ln p(set | Gaussian).
    """
    nu = excess_degrees_of_freedom + 2.0
    a = nu + count
    gain = 0.5 * a * _excess_of_log(excess_degrees_of_freedom + quadratic_form, a, quadratic_form - count - 2.0)
    start = 0.5 * nu * _excess_of_log(excess_degrees_of_freedom, nu, jnp.full_like(nu, -2.0))
    stirling = _stirling_correction(0.5 * a) - _stirling_correction(0.5 * nu)
    return (gain - start) - 0.5 * jnp.log1p(count / nu) + stirling


def _excess_of_log(b: Array, a: Array, difference: Array) -> Array:
    """D(u) = u - ln(1 + u) for 1 + u = b / a, where difference = b - a is known better than its terms."""
    u = difference / a
    return u - jnp.where(b < 0.5 * a, jnp.log(b / a), jnp.log1p(at_least(u, -0.5)))


def _stirling_correction(x: Array) -> Array:
    """s(x) for x >= 1: its series for x >= 8, below eight steps of Gamma(x + 1) = x Gamma(x); all stays finite."""
    small = jnp.minimum(x, 8.0)
    product = jnp.ones_like(x)
    for j in range(1, 8):
        product = product * (1.0 + j / small)
    steps = (small + 7.5) * jnp.log1p(8.0 / small) - 8.0 - jnp.log(product)
    return jnp.where(x < 8.0, _stirling_series(small + 8.0) + steps, _stirling_series(at_least(x, 8.0)))


def _stirling_series(x: Array) -> Array:
    inverse = 1.0 / x
    result = jnp.zeros_like(x)
    for coefficient in (-691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12):  # of 1/x^11 to 1/x
        result = result * inverse**2 + coefficient
    return result * inverse

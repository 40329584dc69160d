"""What the exchangeable processes share: the location part, its trainable form and its fit to data.

Per dimension the elements of a set have mean mu, variance v and pairwise covariance rho. With the ratio
r = rho / (v - rho), a set of N elements with mean m gives the next one the mean m + (mu - m) / (1 + N r) and the
(Gaussian) variance (v - rho) (1 + r / (1 + N r)). The parameters are kept as (mu, v - rho, r), so that nothing is
subtracted and rho = 0 is an ordinary point with finite gradients.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Num

from exflow.core import statistics
from exflow.core.statistics import SetStatistics, with_rank
from exflow.typing import PRNGKey

MAX_RAW_CORRELATION = 40.0  # exp(40) is far beyond any float resolution of 1 - correlation and far from overflow
MAX_FITTED_RATIO = 1e4  # of rho / (v - rho)

Moment = Num[Array | np.ndarray, " dim"]  # as users give it; NumPy arrays are combined in their own precision


@runtime_checkable
class LocationParams(Protocol):
    """Fields of process parameters that this module reads, arrays `[dim]`."""

    @property
    def mean(self) -> Array:
        """Mean mu."""
        ...

    @property
    def within_variance(self) -> Array:
        """v - rho."""
        ...

    @property
    def covariance_ratio(self) -> Array:
        """rho / (v - rho)."""
        ...

    @property
    def variance(self) -> Array:
        """v."""
        ...

    @property
    def correlation(self) -> Array:
        """rho / v."""
        ...


class Location(NamedTuple):
    """Belief about the next element, before the scale mixture of the Student-t process; arrays `[..., dim]`."""

    count: Array  # N, as float, [..., 1]
    offset: Array  # predictive mean minus mean of the set
    posterior_ratio: Array  # tau = r / (1 + N r): posterior variance of the location over v - rho
    variance: Array  # k = (v - rho) (1 + tau)
    quadratic_form: Array | None  # beta = (z - mu)' K^-1 (z - mu) of the set; None without scatter


def location(params: LocationParams, state: SetStatistics, ndim: int | None = None) -> Location:
    """Everything the predictive needs of (params, state); `ndim` is the wanted rank of the results."""
    ndim = state.ndim if ndim is None else ndim
    state = statistics.aligned(state, ndim)
    mean, within, ratio = (
        with_rank(field, ndim) for field in (params.mean, params.within_variance, params.covariance_ratio)
    )
    count = state.count.astype(float_type(params))[..., jnp.newaxis]
    shrinkage = 1.0 / (1.0 + count * ratio)
    from_set = (mean - state.mean.value) - state.mean.low
    posterior_ratio = ratio * shrinkage
    beta = None
    if state.scatter is not None:
        beta = ((state.scatter.value + state.scatter.low) + count * shrinkage * from_set**2) / within
    return Location(count, shrinkage * from_set, posterior_ratio, within * (1.0 + posterior_ratio), beta)


@jax.custom_jvp
def deviation_of(ratio: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Square root of a variance ratio; where it is 0, so that nothing is random, the derivative is 0, not infinite."""
    return jnp.sqrt(ratio)


@deviation_of.defjvp
def _deviation_of_jvp(primals, tangents):
    root = deviation_of(primals[0])
    return root, jnp.where(root > 0, 0.5 / jnp.where(root > 0, root, 1.0), 0.0) * tangents[0]


def predictive_mean(state: SetStatistics, where: Location) -> Float[Array, "*lead dim"]:
    """Mean of the next element."""
    state = statistics.aligned(state, where.offset.ndim)
    return state.mean.value + (state.mean.low + where.offset)


def residual(state: SetStatistics, where: Location, z: Float[Array, "*lead dim"]) -> Float[Array, "*out dim"]:
    """z - predictive mean, computed from the deviation of z from the set mean, which is exact far from the origin."""
    ndim = where.offset.ndim
    state = statistics.aligned(state, ndim)
    return ((with_rank(z, ndim) - state.mean.value) - state.mean.low) - where.offset


def location_from_moments(
    mean: Array | np.ndarray, variance: Array | np.ndarray, covariance: Array | np.ndarray
) -> tuple[Array, Array, Array]:
    """(mean, v - rho, rho / (v - rho)) after checking shapes, and values where they are known.

    Raises:
      ValueError: Shapes differ or are not `[dim]`, or not 0 <= covariance < variance.
    """
    mean, variance, covariance = as_given(mean, variance, covariance)
    if not (mean.ndim == 1 and mean.shape == variance.shape == covariance.shape):
        raise ValueError(
            f"mean, variance, covariance: expected three arrays [dim], got {mean.shape}, {variance.shape} and "
            f"{covariance.shape}. Use jnp.full(dim, value) for equal dimensions."
        )
    check_values("covariance", (covariance >= 0) & (covariance < variance), "0 <= covariance < variance", covariance)
    within = variance - covariance
    given = [jnp.asarray(x) for x in (mean, within, covariance / within)]
    mean, within, ratio = (x.astype(float_type(given)) for x in given)
    return mean, within, ratio


def excess_from_degrees_of_freedom(degrees_of_freedom: Array | np.ndarray, shape: tuple[int, ...]) -> Array:
    """nu - 2 after checking shape and, where they are known, values.

    Raises:
      ValueError: Not of `shape`, or not finite and above 2.
    """
    (degrees_of_freedom,) = as_given(degrees_of_freedom)
    if degrees_of_freedom.shape != shape:
        raise ValueError(
            f"degrees_of_freedom: expected {shape}, got {degrees_of_freedom.shape}. "
            "Use jnp.full(dim, value) for equal dimensions."
        )
    valid = (degrees_of_freedom > 2) & (degrees_of_freedom < jnp.inf)
    check_values("degrees_of_freedom", valid, "finite values above 2", degrees_of_freedom)
    return jnp.asarray(degrees_of_freedom - 2.0)


def constrain_excess(raw_degrees_of_freedom: Array) -> Array:
    """nu - 2 = exp(raw), kept among the normal float32 numbers."""
    return jnp.exp(jnp.clip(raw_degrees_of_freedom, -40.0, 70.0))


def as_given(*values: Any) -> list[Any]:
    """Arrays of NumPy, of which a difference keeps the digits that float32 has not, unless JAX holds all of them."""
    if any(isinstance(x, Tracer) for x in values) or all(isinstance(x, jax.Array) for x in values):
        return [jnp.asarray(x) for x in values]
    return [np.asarray(x) for x in values]


def float_type(params: Any) -> Any:
    """Floating type that holds all parameters, in which states are kept: integers among them truncate nothing."""
    return jnp.result_type(float, *jax.tree.leaves(params))


def check_values(name: str, valid: Array | np.ndarray, expected: str, got: Array | np.ndarray) -> None:
    """Raise ValueError unless `valid` holds everywhere; values known only inside compiled code are not checked."""
    if isinstance(valid, Tracer) or bool(valid.all()):
        return
    index = int(valid.argmin())
    raise ValueError(f"{name}: expected {expected}, got {float(got[index])} at index {index}. Clip it.")


def constrain_location(raw: dict[str, Array]) -> tuple[Array, Array, Array]:
    """Raw parameters -> (mean, v - rho, r), with v = softplus(raw_variance)^2 and r = exp(raw_correlation)."""
    logit_correlation = jnp.minimum(raw["raw_correlation"], MAX_RAW_CORRELATION)
    within = jax.nn.softplus(raw["raw_variance"]) ** 2 * jax.nn.sigmoid(-logit_correlation)
    return raw["mean"], within, jnp.exp(logit_correlation)


def unconstrain_location(params: LocationParams) -> dict[str, Array]:
    """Inverse of `constrain_location`; a covariance of zero becomes the smallest positive one."""
    deviation = jnp.sqrt(params.within_variance * (1.0 + params.covariance_ratio))
    tiny = jnp.finfo(params.covariance_ratio.dtype).tiny
    return {
        "mean": params.mean,
        "raw_variance": deviation + jnp.log(-jnp.expm1(-deviation)),
        "raw_correlation": jnp.log(jnp.maximum(params.covariance_ratio, tiny)),
    }


def fit_location(
    z_set: Float[Array, "batch set dim"],
    learn_mean: bool,
    min_correlation: float,
    min_variance: float,
    mask: Bool[Array, "batch set"] | None = None,
) -> tuple[Array, Array, Array]:
    """Maximum-likelihood (mean, v - rho, rho / (v - rho)) of a Gaussian process for sets of equal size T.

    The covariance matrix has the eigenvalues v - rho and v + (T - 1) rho; l1 = mean scatter / (T - 1) and
    l2 = T mean (set mean - mu)^2 estimate them. The optimum has v = (l2 + (T - 1) l1) / T and rho = (l2 - l1) / T,
    or rho = 0 when that is negative. Sets of one element leave rho unknown: it becomes the least allowed. For ragged
    sets (`mask`) the same sums, each element weighing the same, give the moment estimates with T the mean size.
    """
    if z_set.ndim != 3 or 0 in z_set.shape[:2]:
        raise ValueError(f"z_set: expected [batch, set, dim] with elements, got {z_set.shape}. Stack equal sets.")
    z_set = z_set.astype(float_type(z_set))
    sets = statistics.of_set(z_set, mask, with_scatter=True)
    assert sets.scatter is not None
    count = sets.count.astype(z_set.dtype)[:, jnp.newaxis]
    total, num_sets = jnp.maximum(count.sum(), 1.0), jnp.maximum((count > 0).sum(), 1)
    mean = jnp.zeros_like(z_set[0, 0])
    if learn_mean:
        centre = statistics.sum_over_set(count * sets.mean.value) / total
        mean = centre + statistics.sum_over_set(count * (sets.mean.value - centre[jnp.newaxis])) / total
    between = statistics.sum_over_set(count * (sets.mean.value - mean[jnp.newaxis]) ** 2) / num_sets  # l2
    scatter = statistics.sum_over_set(sets.scatter.value) / num_sets
    size = total / num_sets
    free = (size - 1.0) > 0
    variance = jnp.maximum((between + scatter) / size, min_variance)
    within = jnp.maximum(scatter / jnp.where(free, size - 1.0, 1.0), jnp.finfo(z_set.dtype).tiny)  # l1
    ratio = jnp.where(free, (between - within) / (size * within), 0.0)
    ratio = jnp.clip(ratio, min_correlation / (1 - min_correlation), MAX_FITTED_RATIO)
    return mean, variance / (1.0 + ratio), ratio


def sample_scale(
    excess_degrees_of_freedom: Array, count: Array, quadratic_form: Array, key: PRNGKey, shape: tuple[int, ...]
) -> Array:
    """Draws of the scale w of a Student-t process given the set: InvGamma((nu + N) / 2, (nu - 2 + beta) / 2)."""
    half = jnp.broadcast_to(0.5 * (excess_degrees_of_freedom + (2.0 + count)), shape)
    rate = 0.5 * jnp.broadcast_to(excess_degrees_of_freedom + quadratic_form, shape)
    return rate / jax.random.gamma(key, half, dtype=quadratic_form.dtype)

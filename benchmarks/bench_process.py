"""Log density of a set under an exchangeable process: prefix sums, recurrence and covariance matrix."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from benchmarks.report import Result, main
from benchmarks.timing import interleaved, ratio
from exflow.core import gaussian_process, student_t_process

PROCESSES = {"gaussian": gaussian_process, "student_t": student_t_process}
CASES = {20: (32, 784, 784), 1_000: (1, 784, 8), 10_000: (1, 784, 1)}  # set size -> sets, dim, dim of the matrix form
# The factorisation is the same for both and takes most of a minute at 10,000.
LARGEST_DENSE = {"gaussian": 10_000, "student_t": 1_000}
QUICK_CASES = {30: (2, 4, 2)}


def dense_log_prob(params: Any, z_set: Float[Array, "batch set dim"]) -> Float[Array, ""]:
    """Joint log density of all sets by the Cholesky factor of the covariance matrix of each dimension, in nats."""
    size = z_set.shape[1]

    def one(mean, variance, covariance, excess, z):  # z [batch, set]
        matrix = covariance + (variance - covariance) * jnp.eye(size)
        factor = jnp.linalg.cholesky(matrix)
        beta = (solve_triangular(factor, (z - mean).T, lower=True) ** 2).sum(axis=0)
        log_det = 2 * jnp.log(jnp.diagonal(factor)).sum()
        if excess is None:
            return -0.5 * (size * jnp.log(2 * jnp.pi) + log_det + beta).sum()
        nu = excess + 2.0
        constant = gammaln(0.5 * (nu + size)) - gammaln(0.5 * nu) - 0.5 * size * jnp.log(jnp.pi * excess)
        return (constant - 0.5 * log_det - 0.5 * (nu + size) * jnp.log1p(beta / excess)).sum()

    excess = getattr(params, "excess_degrees_of_freedom", None)
    over_dimensions = jax.vmap(one, in_axes=(0, 0, 0, None if excess is None else 0, 2))
    return over_dimensions(params.mean, params.variance, params.covariance, excess, z_set).sum()


def forms(process: ModuleType) -> dict[str, Callable[[Any, Array], Array]]:
    """The three forms as functions (params, z_set) -> joint log density of all sets."""
    return {
        "parallel": lambda params, z_set: process.log_prob_parallel(params, z_set).sum(),
        "scan": lambda params, z_set: process.log_prob_recurrent(params, z_set).sum(),
        "dense": dense_log_prob,
    }


def inputs(process: str, num_sets: int, set_size: int, dim: int) -> tuple[Any, Array]:
    """Parameters with correlation 0.5, and sets of standard normal elements."""
    moments = [jnp.full(dim, value) for value in (0.0, 1.0, 0.5, *((100.0,) if process == "student_t" else ()))]
    z_set = np.random.default_rng(0).normal(size=(num_sets, set_size, dim)).astype(np.float32)
    return PROCESSES[process].from_moments(*moments), jnp.asarray(z_set)


def run(quick: bool) -> Result:
    """Microseconds per set and dimension, which differ in number; parallel: prefix sums, dense: covariance matrix."""
    cases = QUICK_CASES if quick else CASES
    medians, ratios = {}, {}
    for process in PROCESSES:
        for set_size, (num_sets, dim, dense_dim) in cases.items():
            for derivative in ("forward", "gradient"):
                calls, scale = {}, {}
                for form, function in forms(PROCESSES[process]).items():
                    if form == "dense" and set_size > LARGEST_DENSE[process]:
                        continue
                    form_dim = dense_dim if form == "dense" else dim
                    compiled = jax.jit(function if derivative == "forward" else jax.grad(function, argnums=(0, 1)))
                    params, z_set = inputs(process, num_sets, set_size, form_dim)
                    calls[form] = lambda compiled=compiled, params=params, z_set=z_set: compiled(params, z_set)
                    scale[form] = 1e6 / (num_sets * form_dim)
                timings = interleaved(calls, quick)
                row = f"{process}, {set_size:,} elements, {derivative}"
                medians[row] = {f"{form} us": timing.median * scale[form] for form, timing in timings.items()}
                ratios[row] = {
                    f"{form} / parallel": ratio(timings[form], timings["parallel"]) * scale[form] / scale["parallel"]
                    for form in timings
                    if form != "parallel"
                }
    sizes = {str(size): dict(zip(("sets", "dim", "dense_dim"), case, strict=True)) for size, case in cases.items()}
    return Result({"cases": sizes, "dtype": "float32"}, medians, ratios)


if __name__ == "__main__":
    main(run)

"""Time, memory and rounding of the processes for sets to a million elements and dimensions to 100,000, in float32."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import gammaln

from benchmarks.bench_process import PROCESSES
from benchmarks.report import Result, Table, main
from benchmarks.timing import interleaved

SHAPES = ((1_000, 8), (10_000, 8), (100_000, 8), (1_000_000, 8), (20, 1_000), (20, 10_000), (20, 100_000))
QUICK_SHAPES = ((50, 3), (5, 40))
CHUNK = 10_000  # elements of a stream that are absorbed together
MOMENTS = (0.25, 1.0, 0.5, 30.0)  # mean, variance, covariance, degrees of freedom


def inputs(process: str, set_size: int, dim: int) -> tuple[Any, Float[np.ndarray, "set dim"]]:
    """Parameters, and a set drawn from the Gaussian process."""
    rng, number = np.random.default_rng(0), 4 if process == "student_t" else 3
    mean, variance, covariance, _ = MOMENTS
    z = (
        mean
        + np.sqrt(covariance) * rng.normal(size=dim)
        + np.sqrt(variance - covariance) * rng.normal(size=(set_size, dim))
    )
    return PROCESSES[process].from_moments(*(np.full(dim, value) for value in MOMENTS[:number])), z.astype(np.float32)


def exact_joint(process: str, z_set: Float[np.ndarray, "set dim"]) -> float:
    """Log density of a set in float64 from count, mean and scatter of every dimension, for `MOMENTS`, in nats.

    The covariance matrix has the eigenvalues v - rho, n - 1 times, and v + (n - 1) rho.
    """
    mean, variance, covariance, nu = MOMENTS
    z, n = np.float64(z_set), len(z_set)
    common, within = variance + (n - 1) * covariance, variance - covariance
    log_det = (n - 1) * np.log(within) + np.log(common)
    beta = n * z.var(axis=0) / within + n * (z.mean(axis=0) - mean) ** 2 / common
    if process == "gaussian":
        return float(-0.5 * (n * np.log(2 * np.pi) + log_det + beta).sum())
    constant = gammaln((nu + n) / 2) - gammaln(nu / 2) - 0.5 * n * np.log(np.pi * (nu - 2))
    return float((constant - 0.5 * log_det - 0.5 * (nu + n) * np.log1p(beta / (nu - 2))).sum())


def streamed(process: str, params: Any, z_set: Float[Array, "set dim"]) -> Any:
    """State after all elements, absorbed in chunks of `CHUNK`."""
    module = PROCESSES[process]
    state = module.init_state(params)
    if len(z_set) <= CHUNK:
        return module.update_set(params, state, z_set)
    chunks = z_set.reshape(-1, CHUNK, z_set.shape[1])
    return jax.lax.scan(lambda state, chunk: (module.update_set(params, state, chunk), None), state, chunks)[0]


def run(quick: bool) -> Result:
    """Per element and dimension: nanoseconds, bytes that XLA plans beside the set, and error of the joint density."""
    medians: Table = {}
    ratios: Table = {}
    for process, module in PROCESSES.items():
        forms = {
            "recurrence": module.log_prob_recurrent,
            "prefix sums": module.log_prob_parallel,
            "streamed": lambda params, z_set, process=process: streamed(process, params, z_set),
        }
        for set_size, dim in QUICK_SHAPES if quick else SHAPES:
            params, z_set = inputs(process, set_size, dim)
            z_set, entries, exact = jnp.asarray(z_set), set_size * dim, exact_joint(process, z_set)
            programs = {form: jax.jit(function).lower(params, z_set).compile() for form, function in forms.items()}
            calls = {form: partial(program, params, z_set) for form, program in programs.items()}
            timings = interleaved(calls, quick or set_size > CHUNK)
            for form, program in programs.items():
                row = f"{process}, {set_size:,} x {dim:,}, {form}"
                planned = program.memory_analysis()
                medians[row] = {
                    "ns": 1e9 * timings[form].median / entries,
                    "bytes": (planned.temp_size_in_bytes + planned.output_size_in_bytes) / entries,
                }
                if form != "streamed":
                    found = np.float64(program(params, z_set)).sum()
                    medians[row]["error, nats"] = abs(found - exact) / entries
    return Result({"shapes": QUICK_SHAPES if quick else SHAPES, "chunk": CHUNK, "moments": MOMENTS}, medians, ratios)


if __name__ == "__main__":
    main(run)

"""What the shared tests of exflow.core run on: a new bijector or process is tested by adding one line."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from exflow.core import gaussian_process, student_t_process
from exflow.core.affine import scale
from exflow.core.bijector import Bijector, chain, rematerialized
from exflow.core.coupling import affine_coupling, alternate, alternate_mask, channel, checkerboard
from exflow.core.logit import logit
from exflow.core.squeeze import factor_out, flatten, squeeze, squeezed_shape
from exflow.typing import Network


class BijectorCase(NamedTuple):
    """A bijector, the shape of one example, the range x is drawn from, and the size of its context (0: none)."""

    build: Callable[[], Bijector]
    event_shape: tuple[int, ...]
    low: float = -2.0
    high: float = 2.0
    context_dim: int = 0


def mixing_network() -> Network:
    """A conditioner in which every output depends on every input and on the context, with random non-zero heads.

    Its slopes are moderate, so that float32 round trips measure the coupling and not a chaotic network.
    """

    def init(key, x, context=None):
        dim = int(np.prod(x.shape[1:]))
        width = dim if context is None else dim + context.shape[-1]
        return 0.3 * jax.random.normal(key, (2, width, dim)) / width**0.5

    def apply(params, x, context=None):
        inputs = x.reshape(x.shape[0], -1)
        if context is not None:
            inputs = jnp.concatenate([inputs, context], axis=-1)
        log_scale, shift = (jnp.sin(inputs @ matrix).reshape(x.shape) for matrix in params)
        return log_scale, shift

    return Network(init, apply)


def coupling(mask) -> Bijector:
    return affine_coupling(mask, mixing_network())


def two_scale_flow(image_shape: tuple[int, int, int]) -> Bijector:
    """The BRUNO stack on pixels, with two couplings of each kind."""
    boards = [coupling(checkerboard(parity)) for parity in (0, 1)]
    channels = [coupling(channel(parity)) for parity in (0, 1)]
    inner = chain(*(coupling(checkerboard(parity)) for parity in (0, 1)))
    dense = [coupling(alternate(parity)) for parity in (0, 1)]
    last = [flatten(squeezed_shape(image_shape)), *dense]
    return chain(scale(1 / 256), logit(), *boards, squeeze(), *channels, factor_out(inner), *last)


def three_scale_flow() -> Bijector:
    inner = chain(coupling(checkerboard(0)), squeeze(), coupling(channel(1)), factor_out(coupling(checkerboard(1))))
    return chain(coupling(checkerboard(0)), squeeze(), coupling(channel(0)), factor_out(inner))


BIJECTORS: dict[str, BijectorCase] = {
    "scale": BijectorCase(lambda: scale(-1 / 256), (3, 2), 0.0, 256.0),
    "logit": BijectorCase(logit, (5,), 0.0, 1.0),
    "logit_wide": BijectorCase(lambda: logit(0.05), (2, 3), 0.0, 1.0),
    "squeeze": BijectorCase(squeeze, (4, 2, 3)),
    "flatten": BijectorCase(lambda: flatten((2, 3, 2)), (2, 3, 2)),
    "coupling_checkerboard0": BijectorCase(lambda: coupling(checkerboard(0)), (4, 3, 2)),
    "coupling_checkerboard1": BijectorCase(lambda: coupling(checkerboard(1)), (4, 3, 1)),
    "coupling_channel0": BijectorCase(lambda: coupling(channel(0)), (2, 2, 4)),
    "coupling_channel1": BijectorCase(lambda: coupling(channel(1)), (2, 3, 2)),
    "coupling_even": BijectorCase(lambda: coupling(alternate(0)), (7,)),
    "coupling_odd": BijectorCase(lambda: coupling(alternate(1)), (6,)),
    "coupling_array_mask": BijectorCase(lambda: coupling(alternate_mask((3, 3), 1)), (3, 3)),
    "coupling_context": BijectorCase(lambda: coupling(alternate(0)), (5,), context_dim=3),
    "factor_out": BijectorCase(lambda: factor_out(coupling(checkerboard(0))), (2, 2, 4)),
    "chain_context": BijectorCase(
        lambda: chain(scale(2.0), coupling(alternate(0)), coupling(alternate(1))), (4,), context_dim=2
    ),
    "rematerialized": BijectorCase(lambda: rematerialized(coupling(alternate(0))), (4,)),
    "two_scale_flow": BijectorCase(lambda: two_scale_flow((8, 8, 1)), (8, 8, 1), 0.0, 256.0),
    "three_scale_flow": BijectorCase(three_scale_flow, (8, 8, 1)),
}


class Moments(NamedTuple):
    """Parameters of a process as numpy arrays `[dim]`, in the order of its `from_moments`."""

    mean: np.ndarray
    variance: np.ndarray
    covariance: np.ndarray
    degrees_of_freedom: np.ndarray  # left out where the process has none


class ProcessCase(NamedTuple):
    """A process and its dense float64 oracle, one dimension at a time."""

    module: Any
    joint: Callable[[np.ndarray, float, np.ndarray, float], float]  # (z [n], mean, K [n, n], nu) -> log density
    scale: Callable[[float, float, int], float]  # (nu, beta, n) -> predictive variance over the Gaussian one
    has_degrees_of_freedom: bool = False

    def params(self, moments: Moments, dtype=None):
        values = moments if self.has_degrees_of_freedom else moments[:3]
        return self.module.from_moments(*(jnp.asarray(value, dtype) for value in values))

    def dense_joint(self, moments: Moments, z: np.ndarray) -> float:
        """Joint log density of `z` [n, dim] from the covariance matrix; 0 for the empty set."""
        if not len(z):
            return 0.0
        total = 0.0
        for d, (mean, variance, covariance, nu) in enumerate(zip(*moments, strict=True)):
            total += self.joint(z[:, d], mean, exchangeable_matrix(len(z), variance, covariance), nu)
        return total

    def dense_predictive(self, moments: Moments, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the next element given `z` [n, dim], by solving linear systems."""
        means, variances = [], []
        for d, (mean, variance, covariance, nu) in enumerate(zip(*moments, strict=True)):
            n, error = len(z), z[:, d] - mean
            if not n:
                means.append(mean)
                variances.append(variance)
                continue
            matrix, cross = exchangeable_matrix(n, variance, covariance), np.full(n, covariance)
            means.append(mean + cross @ np.linalg.solve(matrix, error))
            beta = error @ np.linalg.solve(matrix, error)
            gaussian = variance - cross @ np.linalg.solve(matrix, cross)
            variances.append(gaussian * self.scale(nu, beta, n))
        return np.array(means), np.array(variances)


def exchangeable_matrix(n: int, variance: float, covariance: float) -> np.ndarray:
    return np.full((n, n), covariance) + (variance - covariance) * np.eye(n)


def _gaussian_joint(z, mean, matrix, nu):
    return stats.multivariate_normal(np.full(len(z), mean), matrix).logpdf(z)


def _student_t_joint(z, mean, matrix, nu):
    return stats.multivariate_t(np.full(len(z), mean), matrix * (nu - 2) / nu, df=nu).logpdf(z)


PROCESSES: dict[str, ProcessCase] = {
    "gaussian_process": ProcessCase(gaussian_process, _gaussian_joint, lambda nu, beta, n: 1.0),
    "student_t_process": ProcessCase(
        student_t_process, _student_t_joint, lambda nu, beta, n: (nu + beta - 2) / (nu + n - 2), True
    ),
}


FUNCTIONS = (
    *("log_prob", "log_prob_recurrent", "log_prob_parallel", "leave_one_out_log_prob", "predictive_log_prob"),
    *("predictive", "class_log_probs", "update", "update_set", "merge", "remove", "constrain", "unconstrain"),
)

# Each function of each process, compiled once per shape: eager calls would compile every operation by itself.
COMPILED = {
    name: SimpleNamespace(
        **{function: jax.jit(getattr(case.module, function)) for function in FUNCTIONS},
        **{
            function: jax.jit(getattr(case.module, function), static_argnums=3)
            for function in ("sample", "sample_joint")
        },
    )
    for name, case in PROCESSES.items()
}


def random_moments(rng: np.random.Generator, dim: int, max_correlation: float = 0.999) -> Moments:
    """Means of order one, variances over two decades, correlations including 0, nu from near 2 to 1000."""
    variance = 10 ** rng.uniform(-1, 1, dim)
    correlation = np.concatenate([[0.0, max_correlation, 0.5], 10 ** rng.uniform(-3, -0.05, dim)])[:dim]
    nu = np.concatenate([[1000.0, 5.0, 2.05], 2 + 10 ** rng.uniform(-1, 3, dim)])[:dim]
    return Moments(rng.normal(size=dim), variance, variance * correlation, nu)


def random_set(rng: np.random.Generator, moments: Moments, shape: tuple[int, ...]) -> np.ndarray:
    """Draws `[*shape, dim]` of the Gaussian process; the last axis of `shape` is the set."""
    dim = len(moments.mean)
    theta = moments.mean + np.sqrt(moments.covariance) * rng.normal(size=(*shape[:-1], 1, dim))
    return theta + np.sqrt(moments.variance - moments.covariance) * rng.normal(size=(*shape, dim))

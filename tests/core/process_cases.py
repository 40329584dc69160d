"""Dense float64 oracles of the processes: covariance matrices, solved directly."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import linalg, stats


class Moments(NamedTuple):
    """Parameters of the processes as numpy arrays whose first axis is `dim`; each process takes some of them."""

    mean: np.ndarray
    variance: np.ndarray
    covariance: np.ndarray
    degrees_of_freedom: np.ndarray
    gaussian_weight: np.ndarray
    factor: np.ndarray  # [dim, rank]


@functools.cache
def _from_moments(process):
    return jax.jit(process.from_moments)


class ProcessCase(NamedTuple):
    """A process of independent dimensions: with some probability each is Gaussian, else Student-t."""

    module: Any
    fields: tuple[str, ...]  # the moments that its `from_moments` takes, in order
    gaussian_weight: float | None  # None: from the moments

    @property
    def has_degrees_of_freedom(self) -> bool:
        return "degrees_of_freedom" in self.fields

    def given(self, moments: Moments) -> list:
        return [getattr(moments, name) for name in self.fields]

    def params(self, moments: Moments, dtype=None):
        """Parameters with the moments; of arrays compiled once per type, and so without a check of their values."""
        values = self.given(moments)
        if any(isinstance(value, jax.core.Tracer) for value in values):
            return self.module.from_moments(*(jnp.asarray(value, dtype) for value in values))
        return _from_moments(self.module)(*(np.asarray(value, dtype) for value in values))

    def log_weights(self, weight: float) -> tuple[float, float]:
        """Logarithms of the prior probabilities of the Gaussian and the Student-t process."""
        weight = weight if self.gaussian_weight is None else self.gaussian_weight
        return (np.log(weight) if weight > 0 else -np.inf), (np.log1p(-weight) if weight < 1 else -np.inf)

    def log_components(self, moments: Moments, d: int, z: np.ndarray) -> tuple[float, float]:
        """Log weight plus joint log density of `z` [n] in dimension d, for both processes."""
        gaussian, student_t = self.log_weights(moments.gaussian_weight[d])
        if len(z):
            mean, nu = np.full(len(z), moments.mean[d]), moments.degrees_of_freedom[d]
            matrix = exchangeable_matrix(len(z), moments.variance[d], moments.covariance[d])
            if gaussian > -np.inf:
                gaussian += stats.multivariate_normal(mean, matrix).logpdf(z)
            if student_t > -np.inf:
                student_t += stats.multivariate_t(mean, matrix * (nu - 2) / nu, df=nu).logpdf(z)
        return gaussian, student_t

    def posterior_weight(self, moments: Moments, d: int, z: np.ndarray) -> float:
        """Probability of the Gaussian process given `z` [n]."""
        gaussian, student_t = self.log_components(moments, d, z)
        return np.exp(gaussian - np.logaddexp(gaussian, student_t))

    def dense_joint(self, moments: Moments, z: np.ndarray) -> float:
        """Joint log density of `z` [n, dim]; 0 for the empty set."""
        return sum(np.logaddexp(*self.log_components(moments, d, z[:, d])) for d in range(z.shape[1]))

    def dense_steps(self, moments: Moments, z: np.ndarray) -> np.ndarray:
        """log p(z_n | z_<n) for `z` [n, dim]."""
        return np.diff([self.dense_joint(moments, z[:n]) for n in range(len(z) + 1)])

    def gaussian_predictive(self, moments: Moments, d: int, z: np.ndarray) -> tuple[float, float, float]:
        """Mean and variance of the next element under the Gaussian process given `z` [n], and beta."""
        variance, covariance = moments.variance[d], moments.covariance[d]
        matrix, cross = exchangeable_matrix(len(z), variance, covariance), np.full(len(z), covariance)
        error = z - moments.mean[d]
        mean = moments.mean[d] + cross @ np.linalg.solve(matrix, error)
        return mean, variance - cross @ np.linalg.solve(matrix, cross), error @ np.linalg.solve(matrix, error)

    def dense_predictive(self, moments: Moments, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance per dimension of the next element given `z` [n, dim]."""
        means, variances = [], []
        for d, nu in enumerate(moments.degrees_of_freedom):
            mean, variance, beta = self.gaussian_predictive(moments, d, z[:, d])
            weight = self.posterior_weight(moments, d, z[:, d])
            means.append(mean)
            variances.append(variance * (weight + (1 - weight) * (nu + beta - 2) / (nu + len(z) - 2)))
        return np.array(means), np.array(variances)

    def cdf(self, moments: Moments, d: int, z: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Distribution function of dimension d of the next element given `z` [n, dim]."""
        mean, variance, beta = self.gaussian_predictive(moments, d, z[:, d])
        weight, dof = self.posterior_weight(moments, d, z[:, d]), moments.degrees_of_freedom[d] + len(z)
        scale = np.sqrt(variance * (dof - len(z) + beta - 2) / dof)
        return weight * stats.norm(mean, np.sqrt(variance)).cdf(x) + (1 - weight) * stats.t(dof, mean, scale).cdf(x)

    def future_covariance(self, moments: Moments, z: np.ndarray) -> np.ndarray:
        """Covariance per dimension of two future elements given `z` [n, dim]."""
        _, variance = self.dense_predictive(moments, z)
        within = moments.variance - moments.covariance
        gaussian = np.array([self.gaussian_predictive(moments, d, z[:, d])[1] for d in range(z.shape[1])])
        return variance * (1 - within / gaussian)

    def cross_covariance(self, moments: Moments, z: np.ndarray) -> np.ndarray:
        """Covariance [dim, dim] of the next element's dimensions given `z` [n, dim]."""
        return np.diag(self.dense_predictive(moments, z)[1])

    def marginals(self, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
        """Variance of an element and covariance of two, per dimension."""
        return moments.variance, moments.covariance


class LowRankCase(ProcessCase):
    """The Gaussian process with factors, as one Gaussian of n x dim entries."""

    def location_covariance(self, moments: Moments) -> np.ndarray:
        return np.diag(moments.covariance) + moments.factor @ moments.factor.T

    def matrix(self, moments: Moments, n: int) -> np.ndarray:
        within = np.diag(moments.variance - moments.covariance)
        return np.kron(np.ones((n, n)), self.location_covariance(moments)) + np.kron(np.eye(n), within)

    def dense_joint(self, moments: Moments, z: np.ndarray) -> float:
        if not len(z):
            return 0.0
        mean = np.tile(moments.mean, len(z))
        return stats.multivariate_normal(mean, self.matrix(moments, len(z))).logpdf(z.ravel())

    def dense_steps(self, moments: Moments, z: np.ndarray) -> np.ndarray:
        """The entries one by one given those before, by one Cholesky factorisation."""
        lower = np.linalg.cholesky(self.matrix(moments, len(z)))
        innovations = linalg.solve_triangular(lower, (z - moments.mean).ravel(), lower=True)
        log_probs = stats.norm.logpdf(innovations) - np.log(np.diagonal(lower))
        return log_probs.reshape(z.shape).sum(axis=1)

    def conditional(self, moments: Moments, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean [dim] and covariance [dim, dim] of the next element."""
        n, location = len(z), self.location_covariance(moments)
        cross = np.kron(np.ones((1, n)), location)
        solved = np.linalg.solve(self.matrix(moments, n), np.c_[(z - moments.mean).ravel(), cross.T])
        covariance = location + np.diag(moments.variance - moments.covariance) - cross @ solved[:, 1:]
        return moments.mean + cross @ solved[:, 0], covariance

    def dense_predictive(self, moments: Moments, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, covariance = self.conditional(moments, z)
        return mean, np.diagonal(covariance)

    def cdf(self, moments: Moments, d: int, z: np.ndarray, x: np.ndarray) -> np.ndarray:
        mean, variance = self.dense_predictive(moments, z)
        return stats.norm(mean[d], np.sqrt(variance[d])).cdf(x)

    def future_covariance(self, moments: Moments, z: np.ndarray) -> np.ndarray:
        return self.dense_predictive(moments, z)[1] - (moments.variance - moments.covariance)

    def cross_covariance(self, moments: Moments, z: np.ndarray) -> np.ndarray:
        return self.conditional(moments, z)[1]

    def marginals(self, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
        shared = (moments.factor**2).sum(axis=1)
        return moments.variance + shared, moments.covariance + shared


def exchangeable_matrix(n: int, variance: float, covariance: float) -> np.ndarray:
    return np.full((n, n), covariance) + (variance - covariance) * np.eye(n)


def random_moments(rng: np.random.Generator, dim: int, max_correlation: float = 0.999) -> Moments:
    """Means of order one, variances over two decades, correlations including 0, nu from near 2 to 1000, two factors."""
    variance = 10 ** rng.uniform(-1, 1, dim)
    correlation = np.concatenate([[0.0, max_correlation, 0.5], 10 ** rng.uniform(-3, -0.05, dim)])[:dim]
    nu = np.concatenate([[1000.0, 5.0, 2.05], 2 + 10 ** rng.uniform(-1, 3, dim)])[:dim]
    mean, weight = rng.normal(size=dim), rng.uniform(0.1, 0.9, dim)
    factor = 0.7 * np.sqrt(variance * (1 - correlation))[:, None] * rng.normal(size=(dim, 2))
    return Moments(mean, variance, variance * correlation, nu, weight, factor)


def random_set(rng: np.random.Generator, moments: Moments, shape: tuple[int, ...]) -> np.ndarray:
    """Draws `[*shape, dim]` of the Gaussian process; the last axis of `shape` is the set."""
    dim = len(moments.mean)
    theta = moments.mean + np.sqrt(moments.covariance) * rng.normal(size=(*shape[:-1], 1, dim))
    return theta + np.sqrt(moments.variance - moments.covariance) * rng.normal(size=(*shape, dim))

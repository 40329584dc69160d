"""Autoregressive bits: a logistic regression of every bit on the signs of those before it.

    p(x) = prod_i sigmoid(s_i (b_i + sum_{j<i} W_ij s_j)), s = 2 x - 1

Weights have a Gaussian prior N(0, 1 / precision), so that bits that others determine, or that never change, have
finite ones. The negative log posterior is convex and is minimised by L-BFGS for all bits at once. The Hessian of every
bit is at most Z^T Z / 4 + precision, Z being 1 and the signs before it; these bounds are the leading blocks of one
matrix, and so are their Cholesky factors: one factor gives all regressions coordinates in which no curvature exceeds 1.

Source of the bound: Boehning and Lindsay 1988, "Monotonicity of quadratic-approximation algorithms".
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64
from scipy.linalg import solve_triangular
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from exflow.core.binary.arcsine_law import augmented
from exflow.core.binary.chunks import chunks, of_chunks
from exflow.core.binary.codes import as_signs
from exflow.core.binary.model import BinaryModel, Codes
from exflow.core.binary.moments import moments_of
from exflow.typing import PRNGKey

MAX_STEPS = 200
TOLERANCE = 1e-5  # largest entry of the gradient, nats per code


class AutoregressiveBits(NamedTuple):
    """Weights of the signs before a bit, and of a constant one."""

    weights: Float[np.ndarray, "bits bits"]  # W, zero on and above the diagonal
    intercept: Float[np.ndarray, " bits"]  # b


def autoregressive_bits(prior_precision: float) -> BinaryModel:
    """The model as functions; `prior_precision`, above 0, is that of the weights."""

    def fit(codes: Codes, seed: int = 0) -> AutoregressiveBits:
        del seed
        return _fit(codes, prior_precision)

    shapes = lambda num_bits: {"weights": (num_bits, num_bits), "intercept": (num_bits,)}  # noqa: E731
    return BinaryModel("autoregressive", AutoregressiveBits, shapes, fit, sample, complete, log_prob=log_prob)


def sample(fitted: AutoregressiveBits, key: PRNGKey, num: int) -> Bool[Array, "num bits"]:
    """Independent draws, bit after bit."""
    weights, intercept = (jnp.asarray(array) for array in fitted)
    num_bits = len(intercept)
    noise = jax.random.logistic(key, (num_bits, num), weights.dtype)

    def draw(i, signs):
        logits = intercept[i] + jnp.matmul(signs, weights[i], precision=jax.lax.Precision.HIGHEST)
        return signs.at[:, i].set(jnp.where(logits + noise[i] >= 0, 1.0, -1.0))

    return jax.lax.fori_loop(0, num_bits, draw, jnp.zeros((num, num_bits), weights.dtype)) > 0


def log_prob(fitted: AutoregressiveBits, codes: Codes) -> Float64[np.ndarray, " num"]:
    """Log p(x), nats."""

    def of_rows(rows):
        signs = as_signs(rows)
        return log_expit(signs * _logits(fitted, signs)).sum(axis=-1)

    return of_chunks(of_rows, codes)


def complete(
    fitted: AutoregressiveBits, codes: Codes, known: Bool[np.ndarray, " bits"], seed: int, num_sweeps: int = 60
) -> Codes:
    """Gibbs sampling of the bits that are not known, each given all others; begun with each given those before it."""
    rng = np.random.default_rng(seed)
    weights = np.asarray(fitted.weights, np.float64)
    hidden = np.flatnonzero(~known)
    signs = as_signs(codes)
    for i in hidden:
        logits = fitted.intercept[i] + signs[:, :i] @ weights[i, :i]
        signs[:, i] = np.where(logits + rng.logistic(size=len(signs)) >= 0, 1.0, -1.0)
    logits = _logits(fitted, signs)
    for _ in range(num_sweeps):
        for i in hidden:
            later, effect = signs[:, i + 1 :], weights[i + 1 :, i]
            without = logits[:, i + 1 :] - signs[:, i : i + 1] * effect
            gain = log_expit(later * (without + effect)) - log_expit(later * (without - effect))
            odds = logits[:, i] + gain.sum(axis=-1)
            signs[:, i] = np.where(odds + rng.logistic(size=len(signs)) >= 0, 1.0, -1.0)
            logits[:, i + 1 :] = without + signs[:, i : i + 1] * effect
    return signs > 0


def _logits(fitted: AutoregressiveBits, signs: Float64[np.ndarray, "num bits"]) -> Float64[np.ndarray, "num bits"]:
    return signs @ np.asarray(fitted.weights, np.float64).T + np.asarray(fitted.intercept, np.float64)


def _fit(codes: Codes, precision: float) -> AutoregressiveBits:
    """Mode of the posterior density; rows of a matrix of parameters are bits, columns the constant and signs before."""
    num, num_bits = codes.shape
    matrix = augmented(moments_of(codes[:, :-1])) if num_bits > 1 else np.ones((1, 1))
    order = np.roll(np.arange(num_bits), 1)  # the constant first
    bound = matrix[np.ix_(order, order)] / 4.0 + precision / num * np.eye(num_bits)
    factor = np.linalg.cholesky(bound)
    lower = np.tril_indices(num_bits)

    def to_weights(coordinates):
        rows = np.zeros((num_bits, num_bits))
        rows[lower] = coordinates
        return solve_triangular(factor, rows.T, lower=True, trans=1).T

    def objective(coordinates):
        """Negative log posterior density and its gradient, per code."""
        weights = to_weights(coordinates)
        total, gradient = 0.0, np.zeros_like(weights)
        for rows in chunks(codes):
            inputs = np.concatenate([np.ones((len(rows), 1)), as_signs(rows[:, :-1])], axis=1)
            logits = inputs @ weights.T
            total += np.logaddexp(0.0, logits).sum() - logits[rows].sum()
            gradient += (expit(logits) - rows).T @ inputs
        total += precision / 2.0 * (weights**2).sum()
        gradient = solve_triangular(factor, (gradient + precision * weights).T, lower=True).T
        return total / num, gradient[lower] / num

    options = {"maxiter": MAX_STEPS, "gtol": TOLERANCE, "ftol": 0.0, "maxfun": 2 * MAX_STEPS}
    found = minimize(objective, np.zeros(len(lower[0])), jac=True, method="L-BFGS-B", options=options)
    weights = to_weights(found.x)
    return AutoregressiveBits(np.tril(np.pad(weights[:, 1:], ((0, 0), (0, 1))), -1), weights[:, 0])

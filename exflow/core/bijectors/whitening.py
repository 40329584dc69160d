"""ZCA whitening: the symmetric linear map after which the training data have mean 0 and uncorrelated entries.

With mean m and covariance U diag(s) U^T of the data, z = W (x - m), W = U diag(1 / sqrt(s + 1e-5)) U^T. The map is kept
as U and the scales, so that it, its inverse and ln |det W| = -1/2 sum ln(s + 1e-5) are all exact up to rounding.
"""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from exflow.core.bijectors.bijector import Bijector
from exflow.errors import UserError
from exflow.typing import Params, PRNGKey

FLOOR = 1e-5  # added to every eigenvalue
NOISE_MEAN, NOISE_VARIANCE = 0.5, 1.0 / 12.0  # of U[0, 1), in every entry by itself


class Whitening(NamedTuple):
    """What is fitted to training data and no gradient moves; float32, also of an image of 32x32x3 (38 MB)."""

    mean: Float[Array, " dim"]
    axes: Float[Array, "dim dim"]  # U: eigenvectors are its columns
    scales: Float[Array, " dim"]  # 1 / sqrt(s + 1e-5)


def identity(dim: int) -> Whitening:
    """The map that changes nothing: a place for what will be fitted."""
    return Whitening(jnp.zeros(dim), jnp.eye(dim), jnp.ones(dim))


def fit_whitening(images: Iterable[UInt8[np.ndarray, "..."]]) -> Whitening:
    """Fit to 8-bit pixels x with dequantisation noise, x + u and u ~ U[0, 1), whose moments are added exactly.

    The noise adds 1/2 to the mean and 1/12 to the diagonal of the covariance, so that no eigenvalue is 0. (The original
    averages ten draws.) Sums of pixels and of their products are integers below 2^53, exact in float64 in any order. It
    takes 2 num dim^2 + about 10 dim^3 operations of float64.

    Args:
      images: Of training, [num, *event], some at a time.

    Raises:
      UserError: There are fewer than two.
    """
    count, total, products = 0, 0.0, 0.0
    for some in images:
        rows = some.reshape(len(some), -1).astype(np.float64)
        count, total, products = count + len(rows), total + rows.sum(axis=0), products + rows.T @ rows
    if count < 2:
        raise UserError(f"whitening: expected at least 2 training images, got {count}. Choose another data set.")
    mean = np.asarray(total) / count
    covariance = np.asarray(products) / count - np.outer(mean, mean) + NOISE_VARIANCE * np.eye(len(mean))
    eigenvalues, axes = np.linalg.eigh(covariance)
    scales = 1.0 / np.sqrt(np.maximum(eigenvalues, NOISE_VARIANCE) + FLOOR)  # rounding may lie below
    return Whitening(*(jnp.asarray(part, jnp.float32) for part in (mean + NOISE_MEAN, axes, scales)))


def whiten(params: Whitening, x: Float[Array, "*lead dim"]) -> Float[Array, "*lead dim"]:
    """x -> z of vectors."""
    return _along_axes(params, x - _beside(params.mean, x), params.scales)


def unwhiten(params: Whitening, z: Float[Array, "*lead dim"]) -> Float[Array, "*lead dim"]:
    """z -> x of vectors."""
    return _along_axes(params, z, 1.0 / params.scales) + _beside(params.mean, z)


def log_det(params: Whitening) -> Float[Array, ""]:
    """ln |det W|, the same for every x; nats."""
    return jnp.log(params.scales).sum()


def linear_whiten() -> Bijector:
    """The map as a bijector whose params are a `Whitening`; `init` gives the identity, to be replaced by a fitted one.

    Returns:
      A bijector of any event; it does not move its entries.
    """

    def init(key: PRNGKey, x: Float[Array, "batch *event"], context=None) -> Whitening:
        del key, context
        return identity(x[0].size)

    def forward(params: Params, x: Float[Array, "batch *event"], context=None):
        return whiten(params, x.reshape(len(x), -1)).reshape(x.shape), jnp.full(len(x), log_det(params))

    def inverse(params: Params, z: Float[Array, "batch *event"], context=None):
        return unwhiten(params, z.reshape(len(z), -1)).reshape(z.shape), jnp.full(len(z), -log_det(params))

    return Bijector(init, forward, inverse)


def _along_axes(params: Whitening, x: Array, scales: Array) -> Array:
    """U diag(scales) U^T x; accelerators would round the factors, whose scales differ by thousands, to fewer digits."""
    highest = jax.lax.Precision.HIGHEST
    coefficients = jnp.matmul(x, params.axes, precision=highest) * _beside(scales, x)
    return jnp.matmul(coefficients, params.axes.T, precision=highest)


def _beside(vector: Array, x: Array) -> Array:
    return vector.reshape((1,) * (x.ndim - 1) + (-1,))

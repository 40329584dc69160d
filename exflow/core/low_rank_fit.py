"""Factors of the low-rank process from the set means of data: principal components, with noise directions left out."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

MAX_SHARE = 0.95  # of a dimension's covariance that factors may explain


def fit_loading(
    deviation: Float[Array, "batch dim"],
    count: Int[Array, " batch"],
    ratio: Float[Array, " dim"],
    start: Float[Array, "dim rank"],
) -> tuple[Float[Array, "dim rank"], Float[Array, " dim"]]:
    """Split the covariance ratio of independent dimensions into factors and a rest.

    The set means, standardised to unit variance, have a covariance matrix with unit diagonal; its leading eigenvalues
    above the bulk belong to factors. Sampling inflates the eigenvalues of b sets in dim dimensions: an eigenvalue l
    appears as l (1 + g / (l - 1)) with g = dim / b, independent data reach (1 + sqrt(g))^2, and the eigenvector is
    tilted. The strength of each direction is therefore shrunk to (l - 1) cos^2 of the tilt, which is 0 below that edge.

    Args:
      deviation: (set mean - mu) / sqrt(v - rho).
      count: Elements of each set; empty sets do not count.
      ratio: rho / (v - rho) of independent dimensions, above 0.
      start: Small loadings; used for directions without any strength, which would never start to learn from 0.

    Returns:
      b = A / sqrt(v - rho), and rho / (v - rho) of what is left, so that the covariance of every dimension stays.

    Source: Donoho, Gavish and Johnstone 2018, arXiv:1311.0851 (optimal shrinkage of eigenvalues, Frobenius norm).
    """
    dim, rank = start.shape
    present = (count > 0)[:, jnp.newaxis]
    num_sets = jnp.maximum(present.sum(), 1).astype(ratio.dtype)
    noise = 1.0 / jnp.maximum(count, 1).astype(ratio.dtype)[:, jnp.newaxis]  # of a set mean around its location
    scores = jnp.where(present, deviation / jnp.sqrt(ratio[jnp.newaxis] + noise), 0.0)
    _, singular, directions = jnp.linalg.svd(scores, full_matrices=False)
    found = min(rank, singular.shape[0])
    eigenvalues = jnp.zeros(rank, ratio.dtype).at[:found].set(singular[:found] ** 2 / num_sets)
    directions = jnp.zeros((rank, dim), ratio.dtype).at[:found].set(directions[:found])
    bulk = jnp.maximum((singular**2).sum() / num_sets - eigenvalues.sum(), 1e-3) / max(dim - rank, 1)
    strength = bulk * _shrunk_strength(eigenvalues / bulk, dim / num_sets)
    typical = jnp.sqrt(ratio + (noise * present).sum() / num_sets)
    strength = strength[jnp.newaxis]
    loading = jnp.where(strength > 0, directions.T * jnp.sqrt(strength) * typical[:, jnp.newaxis], start)
    square = (loading**2).sum(axis=-1)
    loading = loading * jnp.sqrt(jnp.minimum(1.0, MAX_SHARE * ratio / jnp.maximum(square, 1e-30)))[:, jnp.newaxis]
    return loading, ratio - (loading**2).sum(axis=-1)


def _shrunk_strength(eigenvalue: Float[Array, " rank"], aspect: Float[Array, ""]) -> Float[Array, " rank"]:
    """(l - 1) cos^2 for eigenvalues in units of the bulk, 0 up to the edge (1 + sqrt(aspect))^2."""
    above = eigenvalue > (1.0 + jnp.sqrt(aspect)) ** 2
    safe = jnp.where(above, eigenvalue, 4.0 * (1.0 + aspect))
    half = 0.5 * (safe + 1.0 - aspect)
    spike = half + jnp.sqrt(jnp.maximum(half**2 - safe, 0.0)) - 1.0  # l - 1
    cosine_squared = (1.0 - aspect / spike**2) / (1.0 + aspect / spike)
    return jnp.where(above, spike * jnp.maximum(cosine_squared, 0.0), 0.0)

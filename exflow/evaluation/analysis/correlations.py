"""What a model has learned about its latent dimensions: correlation, variance and degrees of freedom of each.

Only models with an exchangeable process of their latents have them; for others the functions say so. Where
dimensions share factors, they are those of every dimension by itself.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from exflow.core.process import Marginals
from exflow.errors import UserError
from exflow.model import Model, process_of
from exflow.typing import Params

THRESHOLDS = (0.01, 0.1, 0.2, 0.3, 0.5, 0.7)  # of correlation, as counted during training in BRUNO's code


def latent_process(model: Model, params: Params) -> Marginals:
    """The learned process of every latent dimension by itself, float64 arrays.

    Raises:
      UserError: The model has none.
    """
    process = process_of(model)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), params)
        return jax.tree.map(np.asarray, process.parameters(wide))


def dimensions_above(
    process: Marginals, thresholds: Float[np.ndarray, " thresholds"]
) -> Int[np.ndarray, " thresholds"]:
    """Number of latent dimensions whose correlation is above each threshold."""
    return np.asarray([(process.correlation > threshold).sum() for threshold in thresholds], np.int64)


def correlated_dimensions(model: Model, params: Params, min_correlation: float) -> Bool[np.ndarray, " dim"]:
    """Latent dimensions with a correlation above `min_correlation`.

    Raises:
      UserError: The model has no correlations, or none so high.
    """
    correlation = np.asarray(latent_process(model, params).correlation)
    keep = correlation > min_correlation
    if not keep.any():
        highest = correlation.max()
        raise UserError(f"min_correlation: no dimension is above {min_correlation}; the highest has {highest:.3g}.")
    return keep

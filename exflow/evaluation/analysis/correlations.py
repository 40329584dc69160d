"""What a model has learned about its latent dimensions: correlation, variance and degrees of freedom of each.

Only models with an exchangeable process of their latents (BRUNO) have them; for others the functions say so. Where
dimensions share factors, they are those of every dimension by itself.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from exflow.core import gaussian_process, low_rank_process, mixture_process, student_t_process
from exflow.errors import UserError
from exflow.typing import Element, Params

LOCATION = {"mean", "raw_variance", "raw_correlation"}
PROCESSES = (  # by the names of their trainable parameters
    (LOCATION, gaussian_process),
    (LOCATION | {"loading"}, low_rank_process),
    (LOCATION | {"raw_degrees_of_freedom"}, student_t_process),
    (LOCATION | {"raw_degrees_of_freedom", "raw_gaussian_weight"}, mixture_process),
)
THRESHOLDS = (0.01, 0.1, 0.2, 0.3, 0.5, 0.7)  # of correlation, as counted during training in BRUNO's code


class LatentProcess(NamedTuple):
    """Parameters of the process of every latent dimension by itself, float64."""

    mean: Float[np.ndarray, " dim"]  # mu
    variance: Float[np.ndarray, " dim"]  # v, shared factors included
    correlation: Float[np.ndarray, " dim"]  # rho / v, in [0, 1), shared factors included
    degrees_of_freedom: Float[np.ndarray, " dim"] | None  # nu > 2; None for a Gaussian process
    gaussian_weight: Float[np.ndarray, " dim"] | None  # of the Gaussian process in a mixture with the Student-t one


def latent_process(params: Params) -> LatentProcess:
    """The learned process, from parameters whose group "process" is that of a process in `exflow.core`.

    Raises:
      UserError: The model has none.
    """
    raw = params.get("process", {}) if isinstance(params, Mapping) else {}
    module = next((process for names, process in PROCESSES if isinstance(raw, Mapping) and raw.keys() == names), None)
    if module is None:
        raise UserError(
            "this model has no exchangeable process of its latent dimensions, hence no correlations. "
            "Use a model with config.model.family=bruno."
        )
    with jax.enable_x64(True):
        learned = module.constrain({name: jnp.asarray(np.asarray(value), jnp.float64) for name, value in raw.items()})
        always = (np.asarray(field) for field in (learned.mean, learned.variance, learned.correlation))
        tails = (getattr(learned, name, None) for name in ("degrees_of_freedom", "gaussian_weight"))
        return LatentProcess(*always, *(None if field is None else np.asarray(field) for field in tails))


def dimensions_above(
    process: LatentProcess, thresholds: Float[np.ndarray, " thresholds"]
) -> Int[np.ndarray, " thresholds"]:
    """Number of latent dimensions whose correlation is above each threshold."""
    return np.asarray([(process.correlation > threshold).sum() for threshold in thresholds], np.int64)


def correlated_dimensions(params: Params, min_correlation: float) -> Bool[np.ndarray, " dim"]:
    """Latent dimensions with a correlation above `min_correlation`.

    Raises:
      UserError: The model has no correlations, or none so high.
    """
    process = latent_process(params)
    keep = process.correlation > min_correlation
    if not keep.any():
        highest = process.correlation.max()
        raise UserError(f"min_correlation: no dimension is above {min_correlation}; the highest has {highest:.3g}.")
    return keep


def restrict(params: Params, elements: Any, keep: Bool[np.ndarray, " dim"]) -> tuple[Params, Element]:
    """Parameters and cached elements of some latent dimensions alone.

    With them all functions of the model but `encode` and `sample` work on these dimensions, whose process is the
    marginal of that of all. Differences of log-densities are those of the chosen latents; the log-determinant stays
    that of the whole flow.
    """
    process = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[keep]), params["process"])
    return {**params, "process": process}, elements._replace(z=np.ascontiguousarray(elements.z[..., keep]))

"""Distributions of codes that are fitted after training.

Of bits: `threshold` (a dichotomised Gaussian, whose means are exact) and `cov` (the published hyperplane rounding),
`independent` bits, a `mixture` of independent ones, an `autoregressive` model, `random` fair bits, and `int`, points
between pairs of training codes. Of real numbers: N(0, I), the `prior` of a variational autoencoder, a `gaussian` with
the moments of the codes, and a `mixture` of ten Gaussians (Ghosh et al. 2020, arXiv:1903.12436).
"""

import jax
import numpy as np
from jaxtyping import Bool, Float

from exflow.core.binary.model import from_arrays, to_arrays
from exflow.core.binary.registry import binary_model
from exflow.errors import UserError
from exflow.model import Fitted, Sampler
from exflow.models.lbae import gaussian_mixture
from exflow.models.lbae.interpolation import draw_paths, fit_paths, interpolate_bits, interpolate_numbers
from exflow.models.lbae.networks.plan import AutoencoderPlan
from exflow.typing import PRNGKey

KINDS = {
    "threshold": binary_model("threshold", repair="nearest_correlation"),
    "cov": binary_model("flip", repair="higham88"),
    "independent": binary_model("independent"),
    "mixture": binary_model("mixture"),
    "autoregressive": binary_model("autoregressive"),
}
BITS = (*KINDS, "random", "int")
DENSITIES = ("independent", "mixture", "autoregressive")  # methods with exact probabilities
COMPONENTS = 10  # of a mixture of Gaussians


def sampler(plan: AutoencoderPlan) -> Sampler:
    """The distributions that suit the latents of a plan."""
    if plan.latent == "bits":
        return Sampler(BITS, fit_bits, draw_bits, interpolate_bits, complete_bits, DENSITIES, log_prob_of_bits)
    methods = ("prior", "gaussian", "mixture") if plan.latent == "gaussian" else ("mixture", "gaussian")
    return Sampler(methods, fit_numbers, draw_numbers, interpolate_numbers)


def fit_bits(codes: Bool[np.ndarray, "num bits"], method: str) -> Fitted:
    """What a method is fitted to; of `random` only the number of bits."""
    if method == "random":
        return {"num_bits": np.array(codes.shape[1])}
    if method == "int":
        return fit_paths(codes, to_arrays(KINDS["cov"].fit(codes)))
    return to_arrays(KINDS[method].fit(codes))


def draw_bits(fitted: Fitted, key: PRNGKey, num: int, method: str) -> Bool[np.ndarray, "num bits"]:
    """Codes."""
    if method == "random":
        return np.asarray(jax.random.bernoulli(key, 0.5, (num, int(fitted["num_bits"]))))
    if method == "int":
        return draw_paths(fitted, key, num)
    kind = KINDS[method]
    return np.asarray(kind.sample(from_arrays(kind, fitted), key, num))


def complete_bits(
    fitted: Fitted, codes: Bool[np.ndarray, "num bits"], known: Bool[np.ndarray, " bits"], seed: int, method: str
) -> Bool[np.ndarray, "num bits"]:
    """The codes with the bits that are not known drawn given those that are.

    Raises:
      UserError: The method has no such conditional distribution.
    """
    if method not in KINDS:
        raise UserError(f"complete: expected one of {', '.join(KINDS)}, got {method!r}.")
    kind = KINDS[method]
    return kind.complete(from_arrays(kind, fitted), codes, known, seed)


def log_prob_of_bits(fitted: Fitted, codes: Bool[np.ndarray, "num bits"], method: str) -> Float[np.ndarray, " num"]:
    """Log probabilities of codes by one of `DENSITIES`, nats."""
    kind = KINDS[method]
    assert kind.log_prob is not None
    return kind.log_prob(from_arrays(kind, fitted), codes)


def fit_numbers(codes: Float[np.ndarray, "num dim"], method: str) -> Fitted:
    """What a method is fitted to; of `prior` only the number of latents."""
    if method == "prior":
        return {"dim": np.array(codes.shape[1])}
    return gaussian_mixture.fit(codes, COMPONENTS if method == "mixture" else 1)


def draw_numbers(fitted: Fitted, key: PRNGKey, num: int, method: str) -> Float[np.ndarray, "num dim"]:
    """Codes."""
    if method == "prior":
        return np.asarray(jax.random.normal(key, (num, int(fitted["dim"]))))
    return gaussian_mixture.draw(fitted, key, num)

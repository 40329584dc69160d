"""Mixtures of Gaussians of real codes, fitted after training.

Source: Ghosh et al. 2020, "From Variational to Deterministic Autoencoders", arXiv:1903.12436, section 4: ten components
with full covariances; one of them is the Gaussian with the moments of the codes.
"""

from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from exflow.errors import UserError
from exflow.model import Fitted
from exflow.typing import PRNGKey


def fit(codes: Float[np.ndarray, "num dim"], num_components: int, seed: int = 0) -> Fitted:
    """Weights, means and lower Cholesky factors of the covariances of the components, float64.

    Raises:
      UserError: scikit-learn, which fits more than one component, is not installed; or there are too few codes.
    """
    if len(codes) < max(num_components, 2):
        raise UserError(f"codes: expected at least {max(num_components, 2)}, got {len(codes)}. Use more images.")
    if num_components == 1:
        covariance = np.cov(codes, rowvar=False).reshape(codes.shape[1], codes.shape[1]) + 1e-6 * np.eye(codes.shape[1])
        return {"weights": np.ones(1), "means": codes.mean(axis=0)[None], "factors": _cholesky(covariance[None])}
    try:
        from sklearn.mixture import GaussianMixture
    except ImportError as error:
        raise UserError('mixture: needs scikit-learn. Install it with pip install "exflow[metrics]".') from error
    found: Any = GaussianMixture(num_components, max_iter=200, random_state=seed).fit(codes.astype(np.float64))
    return {"weights": found.weights_, "means": found.means_, "factors": _cholesky(found.covariances_)}


def draw(fitted: Fitted, key: PRNGKey, num: int) -> Float[np.ndarray, "num dim"]:
    """Independent draws, float32."""
    component_key, noise_key = jax.random.split(key)
    component = np.asarray(jax.random.choice(component_key, len(fitted["weights"]), (num,), p=fitted["weights"]))
    noise = np.asarray(jax.random.normal(noise_key, (num, fitted["means"].shape[1])), np.float64)
    found = fitted["means"][component] + np.einsum("nij,nj->ni", fitted["factors"][component], noise)
    return found.astype(np.float32)


def _cholesky(covariances: Float[np.ndarray, "components dim dim"]) -> Float[np.ndarray, "components dim dim"]:
    return np.linalg.cholesky(covariances.astype(np.float64))

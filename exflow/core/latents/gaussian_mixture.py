"""A prior of K equally likely Gaussians with independent entries, whose means and log-variances are learned.

    p(z) = 1 / K sum_k N(z; mean_k, exp(log_variance_k))

Unlike `diagonal_gaussian` a latent vector is one event here: densities are summed over its entries. Which component a
vector is of has a posterior p(k | z): unsupervised classes. All values in nats.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from exflow.core.latents import diagonal_gaussian
from exflow.core.latents.diagonal_gaussian import DiagonalGaussian
from exflow.typing import PRNGKey

INIT_SCALE = 0.1  # standard deviation of the parameters before training
ByComponent = Float[Array, "component dim"]


class GaussianMixture(NamedTuple):
    """Parameters of the components."""

    means: ByComponent
    log_variances: ByComponent


def init(key: PRNGKey, num_components: int, dim: int) -> GaussianMixture:
    """Means and log-variances from N(0, 0.1^2)."""
    values = INIT_SCALE * jax.random.normal(key, (2, num_components, dim))
    return GaussianMixture(values[0], values[1])


def with_standard(mixture: GaussianMixture, num_standard: int) -> GaussianMixture:
    """The mixture whose first `num_standard` entries are N(0, 1) in every component, so that they tell none apart.

    No gradient reaches the parameters that are replaced.
    """
    free = jnp.arange(mixture.means.shape[-1])[jnp.newaxis] >= num_standard
    return GaussianMixture(*(jnp.where(free, part, 0.0) for part in mixture))


def choose(mixture: GaussianMixture, component: Int[Array, "*lead"]) -> DiagonalGaussian:
    """The Gaussians of some components, [*lead, dim]."""
    return DiagonalGaussian(mixture.means[component], mixture.log_variances[component])


def component_log_probs(mixture: GaussianMixture, z: Float[Array, "*lead dim"]) -> Float[Array, "*lead component"]:
    """ln N(z; mean_k, variance_k) of every component."""
    return diagonal_gaussian.log_prob(_beside(mixture, z.ndim), z[..., jnp.newaxis, :]).sum(axis=-1)


def log_prob(mixture: GaussianMixture, z: Float[Array, "*lead dim"]) -> Float[Array, "*lead"]:
    """ln p(z)."""
    return _log_mean(component_log_probs(mixture, z))


def log_responsibilities(mixture: GaussianMixture, z: Float[Array, "*lead dim"]) -> Float[Array, "*lead component"]:
    """ln p(k | z) of every component."""
    return jax.nn.log_softmax(component_log_probs(mixture, z), axis=-1)


def responsibilities(mixture: GaussianMixture, z: Float[Array, "*lead dim"]) -> Float[Array, "*lead component"]:
    """p(k | z) of every component; they add up to 1."""
    return jnp.exp(log_responsibilities(mixture, z))


def posterior_entropy(mixture: GaussianMixture, z: Float[Array, "*lead dim"]) -> Float[Array, "*lead"]:
    """Entropy of p(k | z), from 0 (z is surely of one component) to ln K; nats."""
    log_probs = log_responsibilities(mixture, z)
    return -(jnp.exp(log_probs) * log_probs).sum(axis=-1)


def sample(key: PRNGKey, mixture: GaussianMixture, shape: tuple[int, ...]) -> Float[Array, "*shape dim"]:
    """Independent draws, reparametrised given their components."""
    component_key, noise_key = jax.random.split(key)
    component = jax.random.randint(component_key, shape, 0, len(mixture.means))
    return diagonal_gaussian.sample(noise_key, choose(mixture, component))


def kl_estimate(q: DiagonalGaussian, mixture: GaussianMixture, z: Float[Array, "*lead dim"]) -> Float[Array, "*lead"]:
    """ln q(z) - ln p(z) for z drawn from q: its mean is KL(q || p).

    Args:
      q: Posteriors over [*lead, dim].
      mixture: p.
      z: One draw of each.
    """
    return diagonal_gaussian.log_prob(q, z).sum(axis=-1) - log_prob(mixture, z)


def kl_surrogate(q: DiagonalGaussian, mixture: GaussianMixture) -> Float[Array, "*lead"]:
    """-ln mean_k exp(-KL(q || p_k)), in closed form: at least KL(q || p), so that a bound with it remains one.

    By Jensen's inequality, since ln sum exp is convex: E_q ln mean_k(p_k / q) >= ln mean_k exp(E_q ln(p_k / q)). It is
    the divergence itself where all components are equal, and where they are so far apart that q has to do with one.

    Args:
      q: Posteriors over [*lead, dim].
      mixture: p.

    Returns:
      At least 0, up to rounding.
    """
    lifted = DiagonalGaussian(*(part[..., jnp.newaxis, :] for part in q))
    divergences = diagonal_gaussian.kl_divergence(lifted, _beside(mixture, q.mean.ndim)).sum(axis=-1)
    return -_log_mean(-divergences)


def _beside(mixture: GaussianMixture, ndim: int) -> DiagonalGaussian:
    """The components beside vectors of so many axes, [1, ..., component, dim]."""
    return DiagonalGaussian(*(part.reshape((1,) * (ndim - 1) + part.shape) for part in mixture))


def _log_mean(log_values: Float[Array, "*lead component"]) -> Float[Array, "*lead"]:
    return jax.nn.logsumexp(log_values, axis=-1) - jnp.log(float(log_values.shape[-1]))

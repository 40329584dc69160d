"""The terms of the evidence lower bound of a set, from a pass down the hierarchy; all in nats.

    log p(X) >= E_q [ sum_s log p(x_s | z_s, c) - sum_l sum_s KL(q(z_l^s) || p(z_l^s)) - sum_l KL(q(c_l) || p(c_l)) ]

with the divergences of each level in closed form given the latents above it, but for one from a mixture, which is
estimated from the drawn latent. Sources: Edwards & Storkey 2017,
arXiv:1606.02185, equation 5; Giannone & Winther 2022, arXiv:2110.12279, equation 5.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from exflow.core.latents import diagonal_gaussian, gaussian_mixture
from exflow.core.latents.gaussian_mixture import GaussianMixture
from exflow.core.latents.trace import Latent, TopDown


class Terms(NamedTuple):
    """Sums over the elements of a set that exist; divergences per level, top first."""

    log_prob: Float[Array, " batch"]  # log p(X | latents)
    kl_examples: Float[Array, "level batch"]
    kl_set: Float[Array, "set_level batch"]


def terms(trace: TopDown, log_probs: Float[Array, "batch set"], mask: Bool[Array, "batch set"]) -> Terms:
    """Reconstruction and divergences of sets.

    Args:
      trace: Latents drawn from the posteriors.
      log_probs: log p(x_s | latents) of every element.
      mask: Which elements exist.
    """
    return Terms(jnp.where(mask, log_probs, 0.0).sum(axis=1), *_divergences(trace, mask, power=1))


def squared_divergences(
    trace: TopDown, mask: Bool[Array, "batch set"]
) -> tuple[Float[Array, "level batch"], Float[Array, "set_level batch"]]:
    """Divergences as in `Terms`, of the latents of elements and of sets, but of every entry squared before the sum.

    The divergence from a mixture is squared as a whole.
    """
    return _divergences(trace, mask, power=2)


def elbo(parts: Terms) -> Float[Array, " batch"]:
    """Lower bound on log p(X) from one draw of the latents."""
    return parts.log_prob - parts.kl_examples.sum(axis=0) - parts.kl_set.sum(axis=0)


def log_weight(
    trace: TopDown, log_probs: Float[Array, "batch set"], mask: Bool[Array, "batch set"]
) -> Float[Array, " batch"]:
    """Log importance weight log p(X, latents) - log q(latents | X) of the drawn latents, one per set.

    Burda et al. 2016, arXiv:1509.00519. The latents of the set are shared, so weights exist per set only.
    """
    return set_log_weight(trace, mask) + element_log_weights(trace, log_probs, mask).sum(axis=1)


def set_log_weight(trace: TopDown, mask: Bool[Array, "batch set"]) -> Float[Array, " batch"]:
    """The part of the latents of the set, log p(c) - log q(c | X); 0 where there are none or they were given."""
    of_set = (level.set_latent for level in trace.levels)
    inferred = [latent for latent in of_set if latent is not None and latent.q is not None]
    return sum((_log_ratio(latent, 1) for latent in inferred), jnp.zeros(len(mask)))


def element_log_weights(
    trace: TopDown, log_probs: Float[Array, "batch set"], mask: Bool[Array, "batch set"]
) -> Float[Array, "batch set"]:
    """The part of every element, log p(x | z, c) + log p(z | c) - log q(z | c, x); 0 where `mask` is False."""
    return jnp.where(mask, sum((_log_ratio(level.example_latent, 2) for level in trace.levels), log_probs), 0.0)


def _divergences(trace: TopDown, mask: Array, power: int) -> tuple[Array, Array]:
    levels = trace.levels
    of_set = [_divergence(level.set_latent, 1, power) for level in levels if level.set_latent is not None]
    of_examples = [jnp.where(mask, _divergence(level.example_latent, 2, power), 0.0).sum(axis=1) for level in levels]
    return jnp.stack(of_examples), jnp.stack(of_set) if of_set else jnp.zeros((0, len(mask)))


def _divergence(latent: Latent, leading: int, power: int) -> Array:
    assert latent.q is not None
    assert latent.p is not None
    if isinstance(latent.p, GaussianMixture):  # whose divergence is no sum over entries
        return gaussian_mixture.kl_estimate(latent.q, latent.p, latent.value) ** power
    return _sum_event(diagonal_gaussian.kl_divergence(latent.q, latent.p) ** power, leading)


def _log_ratio(latent: Latent, leading: int) -> Array:
    assert latent.q is not None
    assert latent.p is not None
    if isinstance(latent.p, GaussianMixture):
        return -gaussian_mixture.kl_estimate(latent.q, latent.p, latent.value)
    p, q = (diagonal_gaussian.log_prob(dist, latent.value) for dist in (latent.p, latent.q))
    return _sum_event(p - q, leading)


def _sum_event(values: Array, leading: int) -> Array:
    return values.sum(axis=tuple(range(leading, values.ndim)))

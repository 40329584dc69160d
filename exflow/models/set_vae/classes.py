"""To which of several sets an element belongs, told by the latents or the reconstructions of a set VAE.

The third rule, the gain of the evidence lower bound when the element joins a set, is what `exflow.models.bound_sets`
does. Sources: Giannone & Winther 2022, arXiv:2110.12279, and its code; Edwards & Storkey 2017, arXiv:1606.02185, for
the divergence.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from exflow.core.latents import diagonal_gaussian
from exflow.core.latents.diagonal_gaussian import DiagonalGaussian
from exflow.core.latents.elements import EncodedElement, SeenElements
from exflow.core.likelihoods.likelihood import Likelihood
from exflow.model import ClassLogProbs, LatentFunctions
from exflow.typing import Params


def divergence_scores(latents: LatentFunctions) -> ClassLogProbs:
    """`kl_scores` of elements, as sets of one each, under the states of classes."""

    def class_log_probs(
        params: Params, states: SeenElements, elements: EncodedElement, draws: int = 1
    ) -> Float[Array, "*lead query class"]:
        del draws
        queries = jax.tree.map(lambda leaf: jnp.expand_dims(leaf, states.mask.ndim - 1), elements)
        alone = SeenElements(queries, jnp.ones((*elements.seed.shape, 1), bool))
        supports, queries = (latents.set_posteriors(params, sets) for sets in (states, alone))
        return kl_scores(supports, queries, leading=states.mask.ndim - 1)

    return class_log_probs


def kl_scores(
    supports: Sequence[DiagonalGaussian], queries: Sequence[DiagonalGaussian], leading: int = 1
) -> Float[Array, "*lead query way"]:
    """-sum_l KL(q(c_l | support) || q(c_l | {query})) of all pairs, nats.

    Args:
      supports: Posteriors of the latents of the sets, one per level, `[*lead, way, ...]`.
      queries: Those of the queries as sets of one element each, `[*lead, query, ...]`.
      leading: Number of axes of a posterior before those of the latent itself.
    """

    def flat(dist: DiagonalGaussian, axis: int) -> DiagonalGaussian:
        return jax.tree.map(lambda leaf: jnp.expand_dims(leaf.reshape(*leaf.shape[:leading], -1), axis), dist)

    pairs = ((flat(support, -3), flat(query, -2)) for support, query in zip(supports, queries, strict=True))
    return -sum((diagonal_gaussian.kl_divergence(*pair).sum(axis=-1) for pair in pairs), jnp.zeros(()))


def best_reconstruction_scores(
    likelihood: Likelihood,
    outputs: Float[Array, "way shot height width outputs"],
    mask: Bool[Array, "way shot"],
    values: Float[Array, "query height width channels"],
) -> Float[Array, "query way"]:
    """max_k log p(query | reconstruction k of the support) of all pairs, nats; -inf for empty supports.

    Args:
      likelihood: Of the elements.
      outputs: Its parameters, decoded from the latents of the support elements.
      mask: Which of them exist.
      values: Queries.
    """

    def one(parameters: Array) -> Array:
        return likelihood.log_prob(parameters[None], values)

    scores = jax.lax.map(one, outputs.reshape(-1, *outputs.shape[2:])).reshape(*mask.shape, -1)
    return jnp.where(mask[..., None], scores, -jnp.inf).max(axis=1).T

"""The latent variables of a set VAE: inferred from elements, or generated; and what its networks make of them."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from exflow.core.latents.diagonal_gaussian import DiagonalGaussian
from exflow.core.latents.elements import EncodedElement, SeenElements, merge_sets
from exflow.core.latents.seeds import content_seeds, distinct_seeds
from exflow.core.latents.trace import Noise, TopDown
from exflow.core.likelihoods.likelihood import Likelihood
from exflow.model import LatentFunctions, MeanFeatures
from exflow.models.set_vae.networks.autoencoder import SetAutoencoder
from exflow.typing import Params, PRNGKey

SetMask = Bool[Array, "batch set"]
Outputs = Float[Array, "batch set ..."]


def variables(params: Params) -> dict[str, Any]:
    """Parameters and running averages as Flax wants them."""
    return {"params": params["networks"], "batch_stats": params["statistics"]}


def top_down(
    networks: SetAutoencoder,
    params: Params,
    noise: Noise,
    mask: SetMask,
    features: Any,
    set_latents: tuple[Array, ...] | None = None,
    num_levels: int | None = None,
) -> TopDown:
    """A pass down the hierarchy of a trained model; see `SetAutoencoder.top_down`."""
    return _apply(networks, SetAutoencoder.top_down, params, noise, mask, features, set_latents, num_levels)


def latent_functions(
    networks: SetAutoencoder,
    likelihood: Likelihood,
    image_shape: tuple[int, int, int],
    num_set_latents: int,
    mean_features: bool,
) -> LatentFunctions:
    """The capability of the networks; arguments as in `LatentFunctions`."""

    def infer(
        params: Params,
        element_set: EncodedElement,
        mask: SetMask,
        key: PRNGKey | None,
        set_latents: tuple[Array, ...] | None = None,
        means: tuple[int, ...] = (),
        num_levels: int | None = None,
    ) -> tuple[TopDown, Outputs]:
        noise = Noise(key, distinct_seeds(element_set.seed, mask), mask, means)
        trace = top_down(networks, params, noise, mask, element_set.features, set_latents, num_levels)
        return trace, decode(params, trace, mask)

    def generate(
        params: Params,
        key: PRNGKey,
        shape: tuple[int, int],
        set_latents: tuple[Array, ...] | None = None,
        means: tuple[int, ...] = (),
        num_levels: int | None = None,
    ) -> tuple[TopDown, Outputs]:
        every = jnp.ones(shape, bool)
        trace = top_down(networks, params, Noise(key, means=means), every, None, set_latents, num_levels)
        return trace, decode(params, trace, every)

    def decode(params: Params, trace: TopDown, mask: SetMask) -> Outputs:
        return _apply(networks, SetAutoencoder.decode, params, trace, mask)

    return LatentFunctions(
        likelihood=likelihood,
        encode_values=lambda params, values: _encoded(networks, image_shape, params, values),
        infer=infer,
        generate=generate,
        decode=decode,
        set_posteriors=lambda params, state: _set_posteriors(networks, params, state),
        num_set_latents=num_set_latents,
        mean_features=MeanFeatures(_features_of_set, _with_features_of_set) if mean_features else None,
    )


def _apply(networks: SetAutoencoder, method: Any, params: Params, *args: Any) -> Any:
    return networks.apply(variables(params), *args, False, method=method)


def _encoded(
    networks: SetAutoencoder,
    image_shape: tuple[int, int, int],
    params: Params,
    values: Float[Array, "*lead height width channels"],
) -> EncodedElement:
    leading = values.shape[:-3]
    flat = values.reshape(1, -1, *image_shape)
    features = _apply(networks, SetAutoencoder.encode, params, flat, jnp.ones(flat.shape[:2], bool))
    values = flat.reshape(-1, *image_shape)
    element = EncodedElement(jax.tree.map(lambda leaf: leaf[0], features), values, content_seeds(values))
    return jax.tree.map(lambda leaf: leaf.reshape(*leading, *leaf.shape[1:]), element)


def _set_posteriors(networks: SetAutoencoder, params: Params, state: SeenElements) -> list[DiagonalGaussian]:
    """See `LatentFunctions`; a set without elements has the prior."""
    element_set, mask, leading = merge_sets(*state)
    trace = top_down(networks, params, Noise(None), mask, element_set.features)
    found = [level.set_latent.q for level in trace.levels if level.set_latent is not None]
    if not found:
        raise ValueError("model: a VAE has no latent of the set. Classify with class_rule=elbo.")
    return [jax.tree.map(lambda leaf: leaf.reshape(*leading, *leaf.shape[1:]), q) for q in found]


def _features_of_set(elements: EncodedElement) -> Float[Array, "..."]:
    return elements.features.of_set


def _with_features_of_set(elements: EncodedElement, features: Float[Array, "..."]) -> EncodedElement:
    return elements._replace(features=elements.features._replace(of_set=features))

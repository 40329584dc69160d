"""The latent groups of a Matryoshka network: inferred from images, or generated."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from exflow.core.latents import gaussian_mixture
from exflow.core.latents.diagonal_gaussian import DiagonalGaussian
from exflow.core.latents.elements import EncodedElement, SeenElements
from exflow.core.latents.gaussian_mixture import GaussianMixture
from exflow.core.latents.seeds import content_seeds, distinct_seeds
from exflow.core.latents.trace import EXAMPLE, Latent, Level, Noise, TopDown, draw
from exflow.core.likelihoods.learned import LearnedLikelihood
from exflow.model import LatentFunctions
from exflow.models.matnet.networks.layers import Mode
from exflow.models.matnet.networks.matnet import Draw, Law, MatNet
from exflow.models.matnet.networks.plan import Resolution
from exflow.models.matnet.observation import NAME, law_of
from exflow.typing import Params, PRNGKey

COMPONENTS = 0x6D6978  # separates the draw of components from that of latents
SetMask = Bool[Array, "batch set"]
Outputs = Float[Array, "batch set ..."]


def variables(params: Params) -> dict[str, Any]:
    """Parameters and running averages as Flax wants them."""
    networks = {name: part for name, part in params.items() if name not in ("statistics", NAME)}
    averages = {name: part for name, part in params["statistics"].items() if name != NAME}
    return {"params": networks, "batch_stats": averages}


def draw_flat(noise: Noise, shape: tuple[int, ...]) -> Draw:
    """Draws for elements in one row, [batch * set, ...], with the noise of elements [batch, set]."""

    def of_group(law: Law, number: Array | int) -> Array:
        if isinstance(law, GaussianMixture):
            law = _of_components(noise, law, math.prod(shape))
        in_sets = jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), law)
        values = draw(noise, in_sets, number, EXAMPLE)
        return values.reshape(-1, *values.shape[2:])

    return of_group


def _of_components(noise: Noise, mixture: GaussianMixture, number: int) -> DiagonalGaussian:
    """The Gaussians of components drawn for so many elements; without randomness the mean of all components."""
    if noise.key is None or EXAMPLE in noise.means:
        mean = jnp.broadcast_to(mixture.means.mean(axis=0), (number, mixture.means.shape[1]))
        return DiagonalGaussian(mean, jnp.zeros_like(mean))
    key = jax.random.fold_in(noise.key, COMPONENTS)
    return gaussian_mixture.choose(mixture, jax.random.randint(key, (number,), 0, len(mixture.means)))


def as_trace(latents: tuple[Latent, ...], outputs: Array, shape: tuple[int, ...]) -> tuple[TopDown, Outputs]:
    """Latents and outputs of elements in one row as those of sets."""

    def in_sets(leaf: Array) -> Array:
        return leaf.reshape(*shape, *leaf.shape[1:])

    def level(latent: Latent) -> Level:
        p = latent.p if isinstance(latent.p, GaussianMixture) else jax.tree.map(in_sets, latent.p)
        return Level(None, Latent(in_sets(latent.value), p, jax.tree.map(in_sets, latent.q)))

    outputs = in_sets(outputs)
    return TopDown(tuple(map(level, latents)), outputs, None), outputs


def latent_functions(network: MatNet, learned: LearnedLikelihood) -> LatentFunctions:
    """The capability of a network. Its `example_inputs` are the outputs for the likelihood themselves."""

    def pass_down(
        params: Params,
        noise: Noise,
        shape: tuple[int, ...],
        features: Any,
        given: tuple[Array, ...],
        num_groups: int | None,
        mask: SetMask | None,
    ) -> tuple[TopDown, Outputs]:
        flat_mask = None if mask is None else mask.reshape(-1)
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), (features, given))
        found: Any = network.apply(
            variables(params),
            draw_flat(noise, shape),
            flat[0],
            shape[0] * shape[1],
            flat[1],
            num_groups,
            Mode(False, flat_mask),
            method=MatNet.top_down,
        )
        return as_trace(found[0], found[1], shape)

    def infer(
        params: Params,
        element_set: EncodedElement,
        mask: SetMask,
        key: PRNGKey | None,
        set_latents: tuple[Array, ...] | None = None,
        means: tuple[int, ...] = (),
        num_levels: int | None = None,
    ) -> tuple[TopDown, Outputs]:
        del set_latents
        noise = Noise(key, distinct_seeds(element_set.seed, mask), mask, means)
        return pass_down(params, noise, mask.shape, element_set.features, (), num_levels, mask)

    def generate(
        params: Params,
        key: PRNGKey,
        shape: tuple[int, ...],
        set_latents: tuple[Array, ...] | None = None,
        means: tuple[int, ...] = (),
        num_levels: int | None = None,
    ) -> tuple[TopDown, Outputs]:
        del set_latents
        return pass_down(params, Noise(key, means=means), shape, None, (), num_levels, None)

    def regenerate(params: Params, key: PRNGKey, given: tuple[Array, ...]) -> tuple[TopDown, Outputs]:
        return pass_down(params, Noise(key), given[0].shape[:2], None, given, None, None)

    def encode_values(params: Params, values: Float[Array, "*lead height width channels"]) -> EncodedElement:
        leading = values.shape[:-3]
        flat = values.reshape(-1, *values.shape[-3:])
        features = network.apply(variables(params), flat, Mode(), method=MatNet.encode)
        element = EncodedElement(features, flat, content_seeds(flat))
        return jax.tree.map(lambda leaf: leaf.reshape(*leading, *leaf.shape[1:]), element)

    return LatentFunctions(
        likelihood=learned.law(*jax.eval_shape(lambda: learned.init(jax.random.key(0), network.plan.image_shape))),
        law=functools.partial(law_of, learned),
        encode_values=encode_values,
        infer=infer,
        generate=generate,
        decode=lambda params, trace, mask: trace.example_inputs,
        set_posteriors=_no_set_posteriors,
        num_set_latents=0,
        num_components=network.plan.num_components,
        regenerate=regenerate,
        work_bytes=max(map(_work_bytes, network.plan.levels)),
    )


def _work_bytes(level: Resolution) -> int:
    """Of an image, see `LatentFunctions`: of four states that are maps, of sixteen vectors, which are small.

    On a CPU the bound of the published dense network with products of bfloat16 operands takes 7 to 9 % less time with
    2,000 images times draws per call than with 8,000 (float32: as much), and with a few hundred more again.
    """
    return 16 * level.width * level.size**2 if level.size else 64 * level.width


def _no_set_posteriors(params: Params, state: SeenElements) -> list[DiagonalGaussian]:
    raise ValueError("model: images of a Matryoshka network share no latent. Classify by log-density.")

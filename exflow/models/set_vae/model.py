"""Hierarchical set VAEs as a `SetModel`: VAE, Neural Statistician, CNS, HFSGM, CHFSGM, SCHA-VAE, all also with LAG.

A set has latents c_l, its elements have latents z_l; `networks.build` lists the models. Densities are
lower bounds: log p(X) is estimated by L(X), the evidence lower bound (or with `evaluation.importance_samples` = K > 1
the importance-weighted bound of K draws), and the density of an element given others by the difference
L(X and x) - L(X), so that densities given growing sets add up to L. The noise of an element is a function of its pixels
(and of how many equal elements come before it: equal elements have latents of their own) and that of a set of its
elements, which makes every number independent of order, padding and batch. Sources: Edwards & Storkey 2017,
arXiv:1606.02185; Giannone & Winther 2022, arXiv:2110.12279.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt32
from ml_collections import ConfigDict

from exflow.core.latents import bounds, diagonal_gaussian
from exflow.core.latents.seeds import content_seeds, distinct_seeds
from exflow.core.latents.terms import Terms, elbo, element_log_weights, log_weight, terms
from exflow.core.latents.trace import Noise, TopDown
from exflow.core.likelihoods.likelihood import likelihood as find_likelihood
from exflow.core.quantization import bits_per_dim
from exflow.model import LatentFunctions, Model, SetFunctions
from exflow.models.set_vae.classes import kl_scores
from exflow.models.set_vae.networks.autoencoder import SetAutoencoder
from exflow.models.set_vae.networks.build import num_contexts, set_autoencoder
from exflow.nn.initial_values import at_once
from exflow.typing import Batch, Loss, Params, PRNGKey

BOUND, SAMPLE = range(2)  # streams of randomness of a trained model


class SetElement(NamedTuple):
    """What a set VAE keeps of one element."""

    evidence: Any  # what the encoder knows of it
    values: Float[Array, "... height width channels"]  # what its likelihood scores: binarised pixels, for example
    seed: UInt32[Array, "..."]  # of its noise


class SetState(NamedTuple):
    """The elements seen so far. Posteriors of lower latents depend on all of them, so none can be summed up."""

    elements: SetElement  # leading axes [..., set]
    mask: Bool[Array, "... set"]


def set_vae(config: ConfigDict, image_shape: tuple[int, int, int]) -> Model:
    """Build a set VAE from sections `model.set_vae` and `objective` of the configuration.

    Args:
      config: Complete configuration.
      image_shape: Height, width and channels of the images; (1, 1, D) for vectors.

    Returns:
      Model with parameters `{"networks": ...}`, and "statistics", the running averages of batch normalisation.

    Raises:
      UserError: Options that no network has.
    """
    options, objective = config.model.set_vae, config.objective
    likelihood = find_likelihood(options.likelihood)
    networks = set_autoencoder(options, likelihood, image_shape, config.model.compute_dtype, config.model.block_loop)
    dim, vectors = math.prod(image_shape), likelihood.name == "gaussian"
    contexts = num_contexts(options)
    one_level = options.hierarchy != "stream" and options.set_latent_levels == "top"
    mean_evidence = one_level and options.aggregation == "mean"
    width = max(options.hidden, options.encoder_filters * image_shape[0] * image_shape[1])

    def apply(params: Params, method: Any, *args: Any) -> Any:
        return networks.apply(_variables(params), *args, False, method=method)

    def encode(params: Params, key: PRNGKey | None, x: Array, context: Array | None = None) -> SetElement:
        del context
        return encode_values(params, likelihood.to_values(key, x))

    def encode_values(params: Params, values: Array) -> SetElement:
        leading = values.shape[:-3]
        flat = values.reshape(1, -1, *image_shape)
        evidence = apply(params, SetAutoencoder.encode, flat, jnp.ones(flat.shape[:2], bool))
        values = flat.reshape(-1, *image_shape)
        element = SetElement(jax.tree.map(lambda leaf: leaf[0], evidence), values, content_seeds(values))
        return jax.tree.map(lambda leaf: leaf.reshape(*leading, *leaf.shape[1:]), element)

    def infer(
        params: Params,
        element_set: SetElement,
        mask: Array,
        key: PRNGKey | None,
        contexts: tuple[Array, ...] | None = None,
        means: tuple[int, ...] = (),
    ) -> tuple[TopDown, Array]:
        noise = Noise(key, distinct_seeds(element_set.seed, mask), mask, means)
        trace = apply(params, SetAutoencoder.top_down, noise, mask, element_set.evidence, contexts)
        return trace, decode(params, trace, mask)

    def generate(
        params: Params,
        key: PRNGKey,
        shape: tuple[int, int],
        contexts: tuple[Array, ...] | None = None,
        means: tuple[int, ...] = (),
    ) -> tuple[TopDown, Array]:
        every = jnp.ones(shape, bool)
        trace = apply(params, SetAutoencoder.top_down, Noise(key, means=means), every, None, contexts)
        return trace, decode(params, trace, every)

    def decode(params: Params, trace: TopDown, mask: Array) -> Array:
        return apply(params, SetAutoencoder.decode, trace, mask)

    def joint(params: Params, element_set: SetElement, mask: Array | None = None, draws: int = 1) -> Array:
        """L(X) of sets with leading axes."""
        mask = jnp.ones(element_set.seed.shape, bool) if mask is None else mask
        element_set, mask, leading = merge_sets(element_set, mask)

        def one(key: PRNGKey) -> Array:
            trace, outputs = infer(params, element_set, mask, key)
            log_probs = likelihood.log_prob(outputs, element_set.values)
            if draws == 1:
                return elbo(terms(trace, log_probs, mask))
            if not contexts:  # elements are independent: a weight for each is tighter than one per set
                return element_log_weights(trace, log_probs, mask)
            return log_weight(trace, log_probs, mask)

        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), BOUND), draws)
        values = bounds.streamed_bound(jax.vmap(one), keys) if draws > 1 else one(keys[0])
        values = values.sum(axis=1) if values.ndim > 1 else values
        return jnp.where(mask.any(axis=1), values, 0.0).reshape(leading)

    def init(key: PRNGKey, batch: Batch) -> Params:
        init_key, value_key, noise_key = jax.random.split(key, 3)
        values = likelihood.to_values(value_key, batch.x_set)

        def start() -> Any:
            return networks.init(init_key, values, batch.mask, Noise(noise_key), True)

        variables = start() if options.hierarchy == "stream" else at_once(init_key, start)
        return {"networks": variables["params"], "statistics": dict(variables).get("batch_stats", {})}

    def loss(params: Params, key: PRNGKey, batch: Batch) -> Loss:
        value_key, noise_key = jax.random.split(key)
        values, mask = likelihood.to_values(value_key, batch.x_set), batch.mask
        values = jnp.where(mask[..., None, None, None], values, 0.0)  # what is missing may be NaN, also in gradients
        (trace, outputs), updated = networks.apply(
            _variables(params), values, mask, Noise(noise_key), True, mutable=["batch_stats"]
        )
        parts = terms(trace, likelihood.log_prob(outputs, values), mask)
        per_image = Terms(*(part.sum(axis=-1) / mask.sum() for part in parts))
        step = 0 if batch.step is None else batch.step
        weight = bounds.loss_weight(objective.alpha, objective.alpha_decay, step // objective.epoch_steps)
        kl_z, kl_c = (
            bounds.free_bits(kl, objective.free_bits).sum() if objective.free_bits else kl.sum()
            for kl in (per_image.kl_elements, per_image.kl_contexts)
        )
        nelbo = -elbo(Terms(*(part[..., None] for part in per_image)))[0]
        metrics = {
            "nelbo": nelbo,
            **({} if vectors else {"bits_per_dim": bits_per_dim(nelbo, dim)}),
            "reconstruction": -per_image.log_prob,
            "kl_z": per_image.kl_elements.sum(),
            "kl_c": per_image.kl_contexts.sum(),
        }
        value = -bounds.weighted_elbo(per_image.log_prob, kl_z, kl_c, weight)
        return Loss(value, metrics, dict(updated).get("batch_stats", {}))

    def init_state(params: Params, batch_shape: tuple[int, ...] = ()) -> SetState:
        dtype = jnp.float32 if vectors else jnp.uint8
        like = jax.eval_shape(lambda x: encode(params, None, x), jnp.zeros((*batch_shape, 1, *image_shape), dtype))
        empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        return SetState(empty, jnp.zeros((*batch_shape, 1), bool))

    def update(params: Params, state: SetState, element_set: SetElement, mask: Array | None = None) -> SetState:
        del params
        axis = state.mask.ndim - 1
        mask = jnp.ones(element_set.seed.shape, bool) if mask is None else mask
        given = SetState(element_set, jnp.broadcast_to(mask, element_set.seed.shape))
        return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=axis), state, given)

    def remove(params: Params, state: SetState, element: SetElement) -> SetState:
        del params
        same = state.mask & (state.elements.seed == element.seed[..., None])
        first = same & (jnp.cumsum(same, axis=-1) == 1)
        return state._replace(mask=state.mask & ~first)

    def merge(params: Params, a: SetState, b: SetState) -> SetState:
        return update(params, a, b.elements, b.mask)

    def log_prob(params: Params, state: SetState, element: SetElement, draws: int = 1) -> Array:
        one = jax.tree.map(lambda leaf: jnp.expand_dims(leaf, state.mask.ndim - 1), element)
        after = update(params, state, one)
        return joint(params, *after, draws) - joint(params, *state, draws)

    def conditional(params: Params, element_set: SetElement, mask: Array | None = None, draws: int = 1) -> Array:
        mask = jnp.ones(element_set.seed.shape, bool) if mask is None else mask
        size = mask.shape[-1]
        totals = joint(params, *_subsets(element_set, mask, np.tril(np.ones((size, size), bool))), draws)
        before = jnp.concatenate([jnp.zeros_like(totals[..., :1]), totals[..., :-1]], axis=-1)
        return jnp.where(mask, totals - before, 0.0)

    def leave_one_out(params: Params, element_set: SetElement, mask: Array | None = None, draws: int = 1) -> Array:
        mask = jnp.ones(element_set.seed.shape, bool) if mask is None else mask
        without = joint(params, *_subsets(element_set, mask, ~np.eye(mask.shape[-1], dtype=bool)), draws)
        return jnp.where(mask, joint(params, element_set, mask, draws)[..., None] - without, 0.0)

    def class_log_probs(params: Params, states: SetState, elements: SetElement, draws: int = 1) -> Array:
        queries = jax.tree.map(lambda leaf: jnp.expand_dims(leaf, states.mask.ndim - 1), elements)
        queries = SetState(queries, jnp.ones((*elements.seed.shape, 1), bool))
        if options.class_rule == "elbo":
            return _all_pairs(lambda state, query: log_prob(params, state, query, draws), states, elements)
        supports, alone = (context_posteriors(params, sets) for sets in (states, queries))
        return kl_scores(supports, alone, leading=states.mask.ndim - 1)

    def context_posteriors(params: Params, state: SetState) -> list[diagonal_gaussian.DiagonalGaussian]:
        """See `LatentFunctions`; a set without elements has the prior."""
        element_set, mask, leading = merge_sets(*state)
        trace = apply(params, SetAutoencoder.top_down, Noise(None), mask, element_set.evidence, None)
        found = [level.context.q for level in trace.levels if level.context is not None]
        if not found:
            raise ValueError("model: a VAE has no latent of the set. Classify with class_rule=elbo.")
        return [jax.tree.map(lambda leaf: leaf.reshape(*leading, *leaf.shape[1:]), q) for q in found]

    def sample(
        params: Params,
        state: SetState,
        key: PRNGKey,
        num_samples: int,
        coherent: bool = False,
        context: Array | None = None,
    ) -> Array:
        del context
        element_set, mask, leading = merge_sets(*state)
        context_key, element_key, pixel_key = jax.random.split(jax.random.fold_in(key, SAMPLE), 3)

        def contexts(key: PRNGKey) -> tuple[Array, ...]:
            trace = apply(params, SetAutoencoder.top_down, Noise(key), mask, element_set.evidence, None)
            return trace.context_values

        if coherent:
            _, outputs = generate(params, element_key, (len(mask), num_samples), contexts(context_key))
            outputs = jnp.moveaxis(outputs, 1, 0)
        else:
            keys = (jax.random.split(k, num_samples) for k in (context_key, element_key))
            outputs = jax.vmap(lambda c, e: generate(params, e, (len(mask), 1), contexts(c))[1][:, 0])(*keys)
        means = options.sample_means and not vectors
        values = likelihood.mean(outputs) if means else likelihood.sample(pixel_key, outputs)
        return likelihood.to_pixels(values).reshape(num_samples, *leading, *image_shape)

    return Model(
        name=f"set_vae ({options.hierarchy}, {options.aggregation} aggregation, {likelihood.name})",
        image_shape=image_shape,
        init=init,
        loss=loss,
        encode=encode,
        value_dtype="float32" if vectors else "uint8",
        sets=SetFunctions(
            exact=False,
            init_state=init_state,
            update=update,
            remove=remove,
            merge=merge,
            log_prob=log_prob,
            joint=joint,
            conditional=conditional,
            leave_one_out=leave_one_out,
            class_log_probs=class_log_probs,
            sample=sample,
            compact=compact,
            work_bytes=16 * width,  # a few layers of float32
        ),
        latents=LatentFunctions(
            likelihood, encode_values, infer, generate, decode, context_posteriors, mean_evidence, contexts
        ),
    )


def merge_sets(element_set: SetElement, mask: Array) -> tuple[SetElement, Array, tuple[int, ...]]:
    """Merge the leading axes of sets: elements and mask [batch, set], and what the axes were."""
    leading = mask.shape[:-1]
    merged = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(leading) :]), element_set)
    return merged, mask.reshape(-1, mask.shape[-1]), leading


def compact(state: SetState) -> SetState:
    """Drop the places without elements, up to the next power of two, so that sets of any size need few compilations."""
    (kept,) = np.nonzero(np.asarray(state.mask))
    places = 1 << max(len(kept) - 1, 0).bit_length()

    def pack(leaf: Array) -> np.ndarray:
        packed = np.zeros((places, *leaf.shape[1:]), leaf.dtype)
        packed[: len(kept)] = np.asarray(leaf)[kept]
        return packed

    return jax.tree.map(pack, state)


def _subsets(element_set: SetElement, mask: Array, chosen: np.ndarray) -> tuple[SetElement, Array]:
    """Subsets of every set, those of the rows of `chosen` [subset, set]: leading axes [..., subset]."""
    axis = mask.ndim - 1
    masks = mask[..., None, :] & jnp.asarray(chosen).reshape((1,) * axis + chosen.shape)

    def repeat(leaf: Array) -> Array:
        shape = (*leaf.shape[:axis], len(chosen), *leaf.shape[axis:])
        return jnp.broadcast_to(jnp.expand_dims(leaf, axis), shape)

    return jax.tree.map(repeat, element_set), masks


def _all_pairs(function: Any, states: Any, elements: Any) -> Array:
    """[..., query, class] function(state, element) of every pair of states [..., class] and elements [..., query]."""
    lead = states.mask.ndim - 2
    num_classes, num_queries = states.mask.shape[lead], elements.seed.shape[lead]

    def spread(leaf: Array, axis: int, number: int) -> Array:
        expanded = jnp.expand_dims(leaf, axis)
        return jnp.broadcast_to(expanded, (*expanded.shape[:axis], number, *expanded.shape[axis + 1 :]))

    states = jax.tree.map(lambda leaf: spread(leaf, lead, num_queries), states)
    elements = jax.tree.map(lambda leaf: spread(leaf, lead + 1, num_classes), elements)
    return function(states, elements)


def _variables(params: Params) -> dict[str, Any]:
    return {"params": params["networks"], "batch_stats": params["statistics"]}

"""Reconstructions, samples and refinements by a set VAE, any number of them whatever the size of the given sets.

Functions take `Model.latents`, are pure and can be compiled with the `LatentFunctions` and the options static. Sets
are elements `[batch, set]` with a mask; results are the parameters of the likelihood, whose mean or samples `values`
gives. Source: Giannone & Winther 2022, arXiv:2110.12279, section 4.3 and its code, where as many elements are drawn as
are given; there posteriors of lower latents of the set see the latents of the drawn elements, here of the given ones.
"""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from exflow.core.latents.elements import EncodedElement
from exflow.core.latents.trace import SET
from exflow.core.likelihoods.likelihood import Likelihood
from exflow.model import LatentFunctions
from exflow.nn.repeated import resolve_block_loop
from exflow.typing import Params, PRNGKey

Outputs = Float[Array, "batch num height width outputs"]  # parameters of the likelihood of every element
Values = Float[Array, "batch num height width channels"]
SetMask = Bool[Array, "batch set"]
Mode = Literal["fixed", "union_posterior", "union_prior"]


class Refinement(NamedTuple):
    """Samples that a model has reconstructed again and again; `set_latents[l][i]` led from frame i to frame i + 1."""

    frames: Float[Array, "frames batch num height width channels"]  # the first one is what was given to start from
    set_latents: tuple[Float[Array, "steps batch ..."], ...]  # top first


def values(likelihood: Likelihood, outputs: Outputs, key: PRNGKey | None = None) -> Values:
    """What an encoder takes: draws with a key, the means without, which for binary pixels are probabilities."""
    return likelihood.mean(outputs) if key is None else likelihood.sample(key, outputs)


def reconstruct(
    latents: LatentFunctions,
    params: Params,
    key: PRNGKey | None,
    element_set: EncodedElement,
    mask: SetMask,
    means: tuple[int, ...] = (),
) -> Outputs:
    """Elements decoded from latents drawn from their posteriors; without a key from the means of all of them.

    Args:
      latents: Of the model.
      params: Its parameters.
      key: Random key.
      element_set: Sets.
      mask: Which elements exist.
      means: Of SET and EXAMPLE, those whose latents are means all the same.
    """
    return latents.infer(params, element_set, mask, key, None, means)[1]


def infer_set_latents(
    latents: LatentFunctions,
    params: Params,
    key: PRNGKey | None,
    element_set: EncodedElement,
    mask: SetMask,
    at_mean: bool = False,
) -> tuple[Array, ...]:
    """Latents of sets, top first, from their posteriors; none for a VAE.

    Args:
      latents: Of the model.
      params: Its parameters.
      key: Random key of all latents, those of the elements too; None for all means.
      element_set: Sets; those without elements get draws from the prior.
      mask: Which elements exist.
      at_mean: The latents of the set are the means of their posteriors.
    """
    trace, _ = latents.infer(params, element_set, mask, key, None, (SET,) if at_mean else ())
    return trace.set_latents


def sample_prior(
    latents: LatentFunctions, params: Params, key: PRNGKey, shape: tuple[int, int], below_at_mean: bool = False
) -> Outputs:
    """Sets that the model invents.

    Args:
      latents: Of the model.
      params: Its parameters.
      key: Random key.
      shape: Number of sets and of elements of each.
      below_at_mean: Latents of the set below the top one, which is drawn, are the means of their priors: so the
        published samples of the models on vectors and on 4x4 maps.
    """
    top_key, key = jax.random.split(key)
    top = latents.generate(params, top_key, shape)[0].set_latents[:1]
    return latents.generate(params, key, shape, top, (SET,) if below_at_mean else ())[1]


def sample_conditional(
    latents: LatentFunctions,
    params: Params,
    key: PRNGKey,
    element_set: EncodedElement,
    mask: SetMask,
    number: int,
    inferred: Literal["all", "top"] = "all",
    at_mean: bool = False,
    below_at_mean: bool = False,
) -> Outputs:
    """Further elements of given sets: latents of the set from posteriors, those of the elements from priors.

    Args:
      latents: Of the model.
      params: Its parameters.
      key: Random key.
      element_set: Given sets. Of one without elements the latents of the set are drawn from their priors, the lower
        ones as if no element had been drawn either, unless only the top one is inferred.
      mask: Which elements exist.
      number: Elements to draw for each set.
      inferred: Which latents of the set have posteriors: "all", or the "top" one and the others priors given it.
      at_mean: Those with posteriors are their means.
      below_at_mean: Those with priors are their means.
    """
    set_key, key = jax.random.split(key)
    set_latents = infer_set_latents(latents, params, set_key, element_set, mask, at_mean)
    set_latents = set_latents if inferred == "all" else set_latents[:1]
    means = (SET,) if below_at_mean else ()
    return latents.generate(params, key, (len(mask), number), set_latents, means)[1]


def refine(
    latents: LatentFunctions,
    params: Params,
    key: PRNGKey,
    element_set: EncodedElement,
    mask: SetMask,
    start: Values,
    steps: int,
    mode: Mode = "fixed",
    draws: bool = False,
    at_mean: bool = False,
    loop: str = "auto",
) -> Refinement:
    """Feed samples back to the model, which makes them more typical of their set.

    "fixed" infers the latents of the set once, from the given elements, and reconstructs the samples with them.
    "union_posterior" infers them in every step from the given elements and the samples together, and reconstructs;
    "union_prior" does too, and draws the latents of the samples from their priors.

    Args:
      latents: Of the model.
      params: Its parameters.
      key: Random key.
      element_set: Given sets.
      mask: Which elements exist.
      start: Samples to begin with, as many as wanted.
      steps: Number of steps.
      mode: See above.
      draws: Feed back draws from the likelihood; otherwise means, as published.
      at_mean: Latents of the set are the means of their posteriors.
      loop: "scan" over steps in one program, "unroll" one program per step, "auto" by backend, because convolutions in
        a scan are many times slower on CPUs.

    Returns:
      All frames, `steps + 1`.

    Raises:
      ValueError: Unknown mode or loop.
    """
    if mode not in (expected := Mode.__args__):
        raise ValueError(f"mode: expected one of {expected}, got {mode!r}.")
    set_key, key = jax.random.split(key)
    fixed = _infer_set_latents(latents, params, set_key, element_set, mask, at_mean) if mode == "fixed" else None

    def step(frame: Values, number: Any) -> tuple[Values, tuple[Values, tuple[Array, ...]]]:
        step_key = jax.random.fold_in(key, number)
        frame, seen = _refined(latents, mode, draws, at_mean, params, step_key, element_set, mask, frame, fixed)
        return frame, (frame, seen)

    if resolve_block_loop(loop, on_cpu="unroll") == "scan":
        _, (frames, seen) = jax.lax.scan(step, start, jnp.arange(steps))
        return Refinement(jnp.concatenate([start[None], frames]), seen if steps else ())
    frames, every = [start], []
    for number in range(steps):
        frame, (_, seen) = step(frames[-1], number)
        frames.append(frame)
        every.append(seen)
    return Refinement(jnp.stack(frames), jax.tree.map(lambda *parts: jnp.stack(parts), *every) if steps else ())


_infer_set_latents = functools.partial(jax.jit, static_argnums=(0, 5))(infer_set_latents)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _refined(
    latents: LatentFunctions,
    mode: str,
    draws: bool,
    at_mean: bool,
    params: Params,
    key: PRNGKey,
    element_set: EncodedElement,
    mask: SetMask,
    frame: Values,
    fixed: tuple[Array, ...] | None,
) -> tuple[Values, tuple[Array, ...]]:
    """The next frame, and the latents of the set that it is made with."""
    latent_key, element_key, pixel_key = jax.random.split(key, 3)
    samples, every = latents.encode_values(params, frame), jnp.ones(frame.shape[:2], bool)
    if mode == "fixed":
        trace, outputs = latents.infer(params, samples, every, latent_key, fixed)
    else:
        union = jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), element_set, samples)
        both = jnp.concatenate([mask, every], axis=1)
        trace, outputs = latents.infer(params, union, both, latent_key, None, (SET,) if at_mean else ())
        outputs = outputs[:, mask.shape[1] :]
    if mode == "union_prior":
        _, outputs = latents.generate(params, element_key, (len(frame), frame.shape[1]), trace.set_latents)
    return values(latents.likelihood, outputs, pixel_key if draws else None), trace.set_latents

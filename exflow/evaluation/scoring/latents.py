"""Sets through the latents of a model, in chunks over all local devices: any function of them, terms of the bound.

What the likelihood scores of an image (`values`) is given, so that bounds for sets of several sizes can be taken of the
same binary images. Compiled once per function and set size.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from exflow.core.latents.bounds import DRAWS_AT_ONCE
from exflow.core.latents.elements import EncodedElement
from exflow.evaluation import placement
from exflow.evaluation.chunks import chunks, in_chunks
from exflow.model import LatentFunctions, Model, latents_of
from exflow.models import latent_bounds
from exflow.typing import Params, PRNGKey

CHUNK_BYTES = {"cpu": 2**26, "gpu": 2**31}  # of work per device and call


class SetTerms(NamedTuple):
    """Terms of the evidence lower bound per set, nats; levels top first."""

    log_prob: Float[np.ndarray, " sets"]
    kl_examples: Float[np.ndarray, "sets level"]
    kl_set: Float[np.ndarray, "sets set_level"]

    @property
    def elbo(self) -> Float[np.ndarray, " sets"]:
        """The bound on log p(X)."""
        return self.log_prob - self.kl_examples.sum(axis=1) - self.kl_set.sum(axis=1)


def elbo_terms(
    model: Model, params: Params, values: Float[np.ndarray, "sets set h w c"], keys: list[PRNGKey]
) -> SetTerms:
    """Terms of the evidence lower bound of sets, means over one draw of the latents for each key."""
    drawn = [of_sets(_terms, model, params, values, key) for key in keys]
    means = (np.mean(leaves, axis=0, dtype=np.float64) for leaves in zip(*drawn, strict=True))
    return SetTerms(*map(np.asarray, means))


def _terms(
    latents: LatentFunctions, params: Params, element_set: EncodedElement, mask: Array, key: PRNGKey
) -> tuple[Array, Array, Array]:
    found = latent_bounds.elbo_terms(latents, params, key, element_set, mask)
    return found.log_prob, found.kl_examples.T, found.kl_set.T


def of_sets(
    function: Callable[..., Any],
    model: Model,
    params: Params,
    values: Float[np.ndarray, "sets set h w c"],
    *more: Any,
) -> Any:
    """function(latents, params, element_set, mask, *more) of sets; trees of arrays with leading axis [sets].

    Args:
      function: Pure function of sets [batch, set].
      model: Model with latents.
      params: Its parameters.
      values: What the likelihood scores.
      *more: The same for all sets.
    """
    run = _runner(function, model, params, more)
    return in_chunks(run, (values, np.ones(values.shape[:2], bool)), per_call(model, values.shape, 1)[0])


def pieces_of_sets(
    function: Callable[..., Any],
    model: Model,
    params: Params,
    values: Float[np.ndarray, "sets set h w c"],
) -> Iterator[Any]:
    """`of_sets` piece by piece, for outputs that together would fill the memory."""
    run = _runner(function, model, params, ())
    for chunk, real in chunks((values, np.ones(values.shape[:2], bool)), per_call(model, values.shape, 1)[0]):
        yield jax.tree.map(lambda leaf, real=real: np.asarray(leaf)[:real], run(*chunk))


def _runner(function: Callable[..., Any], model: Model, params: Params, more: Any) -> Callable[[Array, Array], Any]:
    latents, params = latents_of(model), placement.replicate(params)

    def run(values: Array, mask: Array) -> Any:
        return _mapped(function, latents, params, more, encode(latents, params, values), mask)

    return run


@functools.partial(jax.jit, static_argnums=(0, 1))
def _mapped(
    function: Callable[..., Any],
    latents: LatentFunctions,
    params: Params,
    more: Any,
    elements: EncodedElement,
    mask: Array,
) -> Any:
    def local(params: Params, more: Any, elements: EncodedElement, mask: Array) -> Any:
        return function(latents, params, elements, mask, *more)

    return placement.data_parallel(local, 2, 2)(params, more, elements, mask)


@functools.partial(jax.jit, static_argnums=0)
def encode(
    latents: LatentFunctions, params: Params, values: Bool[Array, "..."] | Float[Array, "..."]
) -> EncodedElement:
    """Elements of values [sets, set, h, w, c]."""
    return placement.data_parallel(latents.encode_values, 1, 1)(params, values)


def per_call(model: Model, shape: tuple[int, ...], draws: int, inner: int = 1) -> tuple[int, int]:
    """How many sets of the values `shape`, and draws of their latents, a call takes in the memory meant for it."""
    sets, size = shape[:2]
    devices = placement.local_mesh().size
    work_bytes = max(latents_of(model).work_bytes, 0 if model.sets is None else model.sets.work_bytes)
    set_bytes = max(work_bytes, 1) * inner * size
    passes = max(1, devices * CHUNK_BYTES.get(jax.default_backend(), 2**31) // set_bytes)
    together = placement.round_up(min(sets, max(1, passes // min(draws, DRAWS_AT_ONCE))), devices)
    return together, min(draws, max(1, passes // together))

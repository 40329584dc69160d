"""What models with latents keep of images: elements that an encoder has seen, and sets of them as states."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Bool, Float, UInt32


class EncodedElement(NamedTuple):
    """What a model with latents keeps of one element."""

    features: Any  # what the encoder says of it: a pytree of arrays with leading axes [...]
    values: Float[Array, "... height width channels"]  # what its likelihood scores: binarised pixels, for example
    seed: UInt32[Array, "..."]  # of its noise


class SeenElements(NamedTuple):
    """The elements of a set so far: the state of models whose posteriors depend on all of them."""

    elements: EncodedElement  # leading axes [..., set]
    mask: Bool[Array, "... set"]


class MeanFeatures(NamedTuple):
    """Features of elements, where the posteriors of the latents of a set see no more of it than their mean."""

    of: Callable[[EncodedElement], Float[Array, "..."]]
    replaced: Callable[[EncodedElement, Float[Array, "..."]], EncodedElement]  # the elements with other features


def merge_sets(
    element_set: EncodedElement, mask: Bool[Array, "*lead set"]
) -> tuple[EncodedElement, Bool[Array, "batch set"], tuple[int, ...]]:
    """Merge the leading axes of sets: elements and mask [batch, set], and what the axes were."""
    leading = mask.shape[:-1]
    merged = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(leading) :]), element_set)
    return merged, mask.reshape(-1, mask.shape[-1]), leading

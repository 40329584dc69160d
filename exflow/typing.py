"""Types shared by every layer: array aliases, networks, batches and losses."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Float32, Int, Key, UInt8

PRNGKey = Key[Array, ""]
Params = Any  # a pytree of arrays
Element = Any  # a pytree of arrays: what a model keeps of one image, with the image's leading axes
State = Any  # a pytree of arrays: what a model keeps of a set
Images = UInt8[Array, "*lead height width channels"] | Float32[Array, "*lead 1 1 dim"]  # pixels 0..255, or vectors
Context = Float[Array, "*lead context"]  # what is known of an image


class Network(NamedTuple):
    """A neural network as two pure functions, so that `exflow.core` needs no Flax."""

    init: Callable[..., Params]  # (key, *inputs) -> params
    apply: Callable[..., Any]  # (params, *inputs) -> outputs


class Batch(NamedTuple):
    """Sets of images, or of vectors, of one class each."""

    # pixels 0..255, or vectors as pictures of one pixel
    x_set: UInt8[Array, "batch set height width channels"] | Float32[Array, "batch set 1 1 dim"]
    mask: Bool[Array, "batch set"]  # False where a ragged set has no element
    label: Int[Array, " batch"]  # class of the set; rotations of one character are different classes
    context: Float[Array, "batch set context"] | None = None  # what is known of an image: its view angle as (sin, cos)
    step: Int[Array, ""] | None = None  # number of the training step from 0, for objectives that change


class Loss(NamedTuple):
    """What a loss function returns."""

    value: Float[Array, ""]  # to be minimised
    metrics: dict[str, Array]  # numbers to log
    statistics: Params | None = None  # running averages, which replace the parameters called "statistics"


class Phase(NamedTuple):
    """A part of a training step: a loss, and the groups of parameters that it moves."""

    name: str
    loss: Callable[[Params, PRNGKey, Batch], Loss]
    groups: tuple[str, ...]
    start_step: int = 0  # steps, counted from 0, before this one leave the phase out; its metrics are 0 in them

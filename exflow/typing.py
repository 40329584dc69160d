"""Types shared by every layer: array aliases, networks, batches and the interface of a set model."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Int, Key, UInt8

PRNGKey = Key[Array, ""]
Params = Any  # a pytree of arrays
Element = Any  # a pytree of arrays: what a model keeps of one image, with the image's leading axes
State = Any  # a pytree of arrays: what a model keeps of a set


class Network(NamedTuple):
    """A neural network as two pure functions, so that `exflow.core` needs no Flax."""

    init: Callable[..., Params]  # (key, *inputs) -> params
    apply: Callable[..., Any]  # (params, *inputs) -> outputs


class Batch(NamedTuple):
    """Sets of images of one class each."""

    x_set: UInt8[Array, "batch set height width channels"]  # pixels 0..255
    mask: Bool[Array, "batch set"]  # False where a ragged set has no element
    label: Int[Array, " batch"]  # class of the set; rotations of one character are different classes


class SetModel(NamedTuple):
    """A deep generative model of exchangeable sets as pure functions; parameters are always passed in.

    `encode` maps every image on its own to an element (for BRUNO the latent vector and its log-determinant); all other
    functions work on elements, so that an evaluation encodes each image once. Leading axes are free. Log densities are
    in nats per image.
    """

    name: str
    image_shape: tuple[int, int, int]  # height, width, channels
    init: Callable[..., Params]  # (key, batch) -> params, initialised on the batch
    loss: Callable[..., tuple[Array, dict[str, Array]]]  # (params, key, batch) -> (scalar, metrics)
    encode: Callable[..., Element]  # (params, key | None, x uint8 [..., h, w, c]) -> element [...]; None: no noise
    init_state: Callable[..., State]  # (params, batch_shape=()) -> state of empty sets
    update: Callable[..., State]  # (params, state [...], element_set [..., set], mask=None) -> state [...]
    log_prob: Callable[..., Array]  # (params, state [...], element [...]) -> log p(x | seen) [...]
    conditional_log_probs: Callable[..., Array]  # (params, element_set [..., set], mask=None) -> log p(x_n | x_<n)
    leave_one_out_log_probs: Callable[..., Array]  # (params, element_set, mask=None) -> log p(x_n | all others)
    class_log_probs: Callable[..., Array]  # (params, states [..., class], elements [..., query]) -> [..., query, class]
    sample: Callable[..., Array]  # (params, state [...], key, num_samples, coherent=False) -> uint8 [num, ..., h, w, c]

"""Types shared by every layer: array aliases, networks, batches and the interface of a set model."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Float32, Int, Key, UInt8

PRNGKey = Key[Array, ""]
Params = Any  # a pytree of arrays
Element = Any  # a pytree of arrays: what a model keeps of one image, with the image's leading axes
State = Any  # a pytree of arrays: what a model keeps of a set


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
    # (params, key | None, x uint8 [..., h, w, c], context=None [..., context_dim]) -> element [...]; no key: no noise
    encode: Callable[..., Element]
    init_state: Callable[..., State]  # (params, batch_shape=()) -> state of empty sets
    update: Callable[..., State]  # (params, state [...], element_set [..., set], mask=None) -> state [...]
    log_prob: Callable[..., Array]  # (params, state [...], element [...]) -> log p(x | seen) [...]
    conditional_log_probs: Callable[..., Array]  # (params, element_set [..., set], mask=None) -> log p(x_n | x_<n)
    leave_one_out_log_probs: Callable[..., Array]  # (params, element_set, mask=None) -> log p(x_n | all others)
    class_log_probs: Callable[..., Array]  # (params, states [..., class], elements [..., query]) -> [..., query, class]
    # (params, state [...], key, num_samples, coherent=False, context=None [num, ..., context_dim])
    #   -> uint8 [num, ..., h, w, c]
    sample: Callable[..., Array]
    refit: Callable[..., Params] | None = None  # (params, element_set [sets, set], mask) -> params in closed form
    context_dim: int = 0  # numbers known of every image (Conditional BRUNO: 2); 0: the model takes no context
    # Of models whose elements have a latent vector z with a predictive distribution per dimension:
    predictive: Callable[..., Any] | None = None  # (params, state [...]) -> mean, variance[, degrees_of_freedom] of z
    decode: Callable[..., Array] | None = None  # (params, z [..., dim], context=None [..., context_dim]) -> uint8 x
    # (params, element_set [..., set], mask) -> log p(X) [...]; None: the sum of the conditionals
    joint_log_prob: Callable[..., Array] | None = None
    latents: Any = None  # of set VAEs: `exflow.models.set_vae.model.LatentFunctions`, for experiments on the latents
    compact: Callable[..., State] | None = None  # state without leading axes -> the same in little memory; not compiled
    work_bytes: int = 0  # what its functions need per element of a set, if more than the element itself
    value_dtype: str = "uint8"  # of the x that it takes and samples: uint8 (pixels 0..255) | float32 (vectors)

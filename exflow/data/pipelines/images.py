"""Single images in the order of epochs: a keyed permutation, of which a batch computes only its own part.

Epoch e of a seed is a permutation of the N images, and the epochs follow each other as one stream of positions. Batch b
of size B holds the places b B to (b + 1) B - 1 of the stream: where B divides N it never crosses the border of an
epoch, otherwise a batch may end one epoch and begin the next, and nothing is dropped or repeated.

The permutation is a generalized Feistel network on a x b > N points (method 3 of Black and Rogaway 2002, "Ciphers with
arbitrary finite domains"), walked along its cycles until it comes back to 0..N-1 (their method 2). Because a b - N <= a
and a is about sqrt(N), one image in sqrt(N) takes a second step. A key bit decides whether the points 0 and 1 change
places beforehand, because the network alone reaches only the even permutations of some sizes, or the odd ones. The
round functions are the finalizer of MurmurHash3 (Appleby, public domain) under a key of seed, epoch and round.

All numbers are words of 32 bits, so that NumPy on the host and JAX inside the compiled step compute the same. Time and
memory are those of the batch, whatever N is.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Int32, UInt32

from exflow.data.pipelines.spec import ImageSpec
from exflow.data.registry import ImageSets
from exflow.errors import UserError

STREAM = np.uint32(0x496D6167)  # separates these permutations from other uses of the seed
NUM_ROUNDS = 16  # even; with 8, some orders of 7 images are rarer than others
ROUND_KEY = np.uint32(0x9E3779B9)  # 2**32 / golden ratio: keys of rounds differ in many bits
MAX_IMAGES = 2**31  # place + batch must fit in a word

Words = UInt32[np.ndarray | Array, " num"]
Word = np.uint32 | UInt32[np.ndarray | Array, ""]


class Place(NamedTuple):
    """Where a batch begins in the stream of epochs."""

    epoch: Word
    position: Word  # in the epoch


class ImageOrder(NamedTuple):
    """The images in the order that is permuted: by class."""

    row: Int32[np.ndarray, " num_images"]  # of ImageSets.images
    label: Int32[np.ndarray, " num_images"]  # row of ImageSets.index


def check_images(image_sets: ImageSets, spec: ImageSpec) -> None:
    """Refuse what cannot be delivered.

    Raises:
      UserError: One line that names the data set and the fix.
    """
    num_images = int(image_sets.count.sum())
    if spec.num_sets < 1:
        raise UserError(f"images of {image_sets.name}: expected num_sets >= 1, got {spec.num_sets}. Use at least 1.")
    if not 1 <= num_images < MAX_IMAGES:
        raise UserError(f"{image_sets.name}: expected 1 to {MAX_IMAGES - 1} images, got {num_images}. Use such a set.")


def order_of(image_sets: ImageSets) -> ImageOrder:
    """The images of a data set, class by class."""
    valid = image_sets.exists
    label = np.repeat(np.arange(len(image_sets.count), dtype=np.int32), image_sets.count)
    return ImageOrder(image_sets.index[valid], label)


def place_of(step: int, batch_size: int, num_images: int) -> Place:
    """Where the batch of a step begins; exact for any step, as Python's integers are."""
    epoch, position = divmod(step * batch_size, num_images)
    return Place(np.uint32(epoch % 2**32), np.uint32(position))


def images_at(
    seed: int, place: Place, offset: UInt32[np.ndarray, " num"], num_images: int, while_loop: Callable[..., Any]
) -> Words:
    """Which images stand at some places of the stream.

    Args:
      seed: Of all epochs; any integer of 32 bits.
      place: Where the batch begins, from `place_of`.
      offset: Places within the batch.
      num_images: Images of an epoch, N.
      while_loop: `jax.lax.while_loop`, or `host_while_loop` for NumPy.

    Returns:
      Numbers in 0..N-1: indices of `ImageOrder`.
    """
    size = np.uint32(num_images)
    stream = place.position + offset
    epoch, position = place.epoch + stream // size, stream % size
    return permute(seed, epoch, position, num_images, while_loop)


def permute(seed: int, epoch: Words, position: Words, num_images: int, while_loop: Callable[..., Any]) -> Words:
    """The permutation of an epoch at some positions; see the module for its construction.

    Args:
      seed: Any integer of 32 bits.
      epoch: Number of the epoch for every position.
      position: In 0..N-1.
      num_images: N, at most `MAX_IMAGES`.
      while_loop: As for `images_at`.
    """
    num_left = math.isqrt(num_images) + 1  # a
    num_right = num_images // num_left + 1  # b; a b > N
    epoch_key = mix(mix(epoch ^ STREAM) + np.uint32(seed % 2**32))
    round_keys = [mix(epoch_key + np.uint32(number * int(ROUND_KEY) % 2**32)) for number in range(NUM_ROUNDS)]

    def encrypt(value: Words) -> Words:
        value = value ^ (epoch_key & (value < np.uint32(2)).astype(np.uint32))
        left, right = value % np.uint32(num_left), value // np.uint32(num_left)
        for number, key in enumerate(round_keys):
            modulus = np.uint32(num_right if number % 2 else num_left)
            left, right = right, (left + mix(mix(right ^ key) + key) % modulus) % modulus
        return right * np.uint32(num_left) + left

    def step(state: tuple[Words, Words]) -> tuple[Words, Words]:
        value, outside = state  # outside: 1 where the walk goes on, else 0
        value = value + (encrypt(value) - value) * outside
        return value, (value >= np.uint32(num_images)).astype(np.uint32)

    return while_loop(lambda state: state[1].any(), step, (position, position * np.uint32(0) + np.uint32(1)))[0]


def mix(word: Words) -> Words:
    """The finalizer of MurmurHash3: a bijection of words under which every bit of the input moves half of the bits."""
    word = (word ^ (word >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    word = (word ^ (word >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return word ^ (word >> np.uint32(16))


def host_while_loop(condition: Callable[..., Any], body: Callable[..., Any], state: Any) -> Any:
    """`jax.lax.while_loop` for NumPy."""
    while condition(state):
        state = body(state)
    return state

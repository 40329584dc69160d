"""Few-shot episodes as rows of a cache of elements; drawn with NumPy, a pure function of the generator's seed."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int


class Episodes(NamedTuple):
    """Rows of [class, rotation, image] elements, flattened; class 0 of every episode is the target."""

    support: Int[np.ndarray, "episode way shot"]
    query: Int[np.ndarray, "episode query_class query"]  # images of the first classes that are not in their support


def draw_episodes(
    rng: np.random.Generator,
    count: Int[np.ndarray, " classes"],
    num_rotations: int,
    max_count: int,
    way: int,
    shot: int,
    num_query: int = 1,
    num_episodes: int | None = None,
) -> Episodes:
    """Draw one episode per (class, rotation), or a number of episodes of random targets.

    The classes of an episode are different characters, each with its own rotation (random but for the target of the
    first form): another rotation of the same character never competes.

    Args:
      rng: Generator; its state is advanced.
      count: Images of each class; classes with fewer than shot + num_query are left out.
      num_rotations: Rotations in the cache.
      max_count: Length of the image axis of the cache.
      way: Classes of an episode.
      shot: Support images per class.
      num_query: Queries per class, of images that are not in its support.
      num_episodes: None for one episode per (class, rotation), in this order, with queries of the target alone (the
        protocol of the paper). Otherwise this many episodes of random classes, with queries of every class.

    Returns:
      Rows of support and query images.

    Raises:
      ValueError: Fewer than `way` classes have enough images.
    """
    usable = np.flatnonzero(count >= shot + num_query)
    if len(usable) < way or way < 1:
        need = f"1 to {len(usable)} (the classes with at least {shot + num_query} images)"
        raise ValueError(f"way: expected {need}, got {way}. Use fewer ways, shots or queries, or more data.")
    if num_episodes is None:
        target = np.repeat(np.arange(len(usable)), num_rotations)
        turn = np.tile(np.arange(num_rotations), len(usable))
    else:
        target = rng.integers(len(usable), size=num_episodes)
        turn = rng.integers(num_rotations, size=num_episodes)
    classes = np.concatenate([target[:, None], _distinct_others(rng, target, len(usable), way - 1)], axis=1)
    classes = usable[classes]
    rotations = rng.integers(num_rotations, size=classes.shape)
    rotations[:, 0] = turn
    order = rng.random((*classes.shape, max_count), dtype=np.float32)
    order[np.arange(max_count) >= count[classes][..., None]] = 2.0  # images that do not exist come last
    images = np.argsort(order, axis=-1)[..., : shot + num_query]
    rows = (classes[..., None] * num_rotations + rotations[..., None]) * max_count + images
    query = rows[:, : 1 if num_episodes is None else way, shot:]
    return Episodes(*(np.ascontiguousarray(part, dtype=np.int32) for part in (rows[..., :shot], query)))


def _distinct_others(rng: np.random.Generator, target: np.ndarray, num_classes: int, number: int) -> np.ndarray:
    """Distinct classes other than the target, uniformly, [episode, number]."""
    if number == 0:
        return np.zeros((len(target), 0), np.int64)
    keys = rng.random((len(target), num_classes - 1), dtype=np.float32)
    others = keys.argpartition(number - 1, axis=1)[:, :number]
    return others + (others >= target[:, None])

"""Few-shot classification accuracy from cached elements, with the protocol of the BRUNO paper and a corrected one.

A class is represented by the state of the set model after its support images; a query belongs to the class whose state
gives it the highest predictive log-density. Source: Korshunova et al. 2018, arXiv:1802.07535, section 4.3.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy import stats
from tqdm import tqdm

from exflow.evaluation import cached, placement
from exflow.evaluation.chunks import equal_size, in_chunks
from exflow.evaluation.scoring.episode_draws import Episodes, draw_episodes
from exflow.model import Model, sets_of
from exflow.typing import Element, Params

# Bytes of gathered support elements per device and call. On CPU chunks that stay in the cache need half the time of
# large ones (page faults); on accelerators every call costs a launch.
CHUNK_BYTES = {"cpu": 2**22, "gpu": 2**28, "tpu": 2**28}


class Accuracy(NamedTuple):
    """Accuracy in [0, 1] over trials."""

    mean: float
    std: float  # over trials, sample standard deviation; NaN for one trial
    ci95: float  # half width of the interval for the mean: Student-t quantile * std / sqrt(trials); NaN for one trial
    trials: tuple[float, ...]


class FewShotAccuracy(NamedTuple):
    """Both protocols, from the same scores."""

    original: Accuracy  # argmax, which returns the first row, the target, on ties and where all is NaN
    corrected: Accuracy  # a tie of n classes counts 1 / n, NaN counts as wrong
    num_decisions: int


@functools.partial(jax.jit, static_argnums=(0, 1))
def _score(model: Model, draws: int, params: Params, elements: Element, support: Array, query: Array) -> Array:
    def local(params: Params, elements: Element, support: Array, query: Array) -> Array:
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[3:]), elements)
        states = cached.empty_states(model, params, support.shape[:2])
        states = sets_of(model).update(params, states, cached.gather(flat, support))
        return sets_of(model).class_log_probs(params, states, cached.gather(flat, query), draws)

    with jax.default_matmul_precision("highest"):
        return placement.data_parallel(local, 2, 2)(params, elements, support, query)


def score_episodes(
    model: Model, params: Params, elements: Element, episodes: Episodes, draws: int = 1
) -> Float[np.ndarray, "episode query way"]:
    """Predictive log-density of every query under every class of its episode.

    Episodes are scored in equal chunks that bound the memory, spread over the local devices; compiled once per shape.

    Args:
      model: Set model.
      params: Its parameters; best from `placement.replicate`, which spares a copy per call.
      elements: Cached elements [class, rotation, image]; same remark.
      episodes: Rows of support and query elements.
      draws: Of the latents, where densities are bounds.

    Returns:
      log p(query | class) in nats; the queries of all classes follow each other.
    """
    params, elements = placement.replicate(params), placement.replicate(elements)
    total, way, shot = episodes.support.shape
    query = episodes.query.reshape(total, -1)
    episode_bytes = cached.element_bytes(model, elements, draws) * (way * (shot + 4) + query.shape[1])
    chunk_bytes = placement.local_mesh().size * CHUNK_BYTES.get(jax.default_backend(), 2**26)
    run = functools.partial(_score, model, draws, params, elements)
    return in_chunks(run, (episodes.support, query), equal_size(total, chunk_bytes // episode_bytes))


def count_correct(
    scores: Float[np.ndarray, "... query way"], target: int | Int[np.ndarray, " query"] = 0
) -> tuple[Bool[np.ndarray, "... query"], Float[np.ndarray, "... query"]]:
    """Decide each query by its scores.

    Args:
      scores: log p(query | class).
      target: Right class of each query.

    Returns:
      `original`: the argmax is the target, as in the reference code: for target 0 ties are correct, and so is NaN.
      `corrected`: 1 / number of tied classes where the target ties for the maximum, 0 where any score is NaN.
    """
    original = np.argmax(scores, axis=-1) == target
    best = scores.max(axis=-1, keepdims=True)  # NaN where any score is NaN, which equals nothing
    wanted = np.broadcast_to(target, scores.shape[:-1])[..., None]
    hit = np.take_along_axis(scores, wanted, axis=-1) == best
    tied = np.maximum((scores == best).sum(axis=-1), 1)
    return original, np.where(hit[..., 0], 1.0 / tied, 0.0)


def summarize(trials: Sequence[float]) -> Accuracy:
    """Mean, standard deviation and 95 % interval over trials."""
    values, number = np.asarray(trials, np.float64), len(trials)
    std = float(values.std(ddof=1)) if number > 1 else float("nan")
    ci95 = stats.t.ppf(0.975, number - 1) * std / np.sqrt(number) if number > 1 else float("nan")
    return Accuracy(float(values.mean()), std, float(ci95), tuple(values.tolist()))


def few_shot_accuracy(
    model: Model,
    params: Params,
    elements: Element,
    way: int,
    shot: int,
    trials: int | Sequence[int],
    seed: int,
    count: Int[np.ndarray, " classes"] | None = None,
    description: str | None = None,
    draws: int = 1,
) -> FewShotAccuracy:
    """Accuracy by the paper's protocol: one trial holds one episode of one query for every (class, rotation).

    Trial t is a function of (seed, way, shot, t) alone.

    Args:
      model: Set model.
      params: Its parameters.
      elements: Cached elements [class, rotation, image].
      way: Classes per episode: the target and `way - 1` other base classes with random rotations.
      shot: Support images per class.
      trials: Number of trials (20 in the paper), or the numbers of the trials to run.
      seed: Seed of the episodes.
      count: Images of each class; None if all exist.
      description: Title of the progress bar; None shows none.
      draws: Of the latents, where densities are bounds.

    Returns:
      Accuracy by the original and the corrected counting.

    Raises:
      ValueError: Fewer than `way` classes have shot + 1 images.
    """
    params, elements = placement.replicate(params), placement.replicate(elements)
    count, num_rotations, max_count = _cache_shape(elements, count)
    original, corrected, decisions = [], [], 0
    numbers = range(trials) if isinstance(trials, int) else trials
    for trial in tqdm(numbers, description, unit="trial", disable=None if description else True, leave=False):
        rng = np.random.default_rng((seed, way, shot, trial))
        episodes = draw_episodes(rng, count, num_rotations, max_count, way, shot)
        first, second = count_correct(score_episodes(model, params, elements, episodes, draws))
        original.append(float(first.mean()))
        corrected.append(float(second.mean()))
        decisions += first.size
    return FewShotAccuracy(summarize(original), summarize(corrected), decisions)


def validation_accuracy(
    model: Model,
    params: Params,
    elements: Element,
    way: int,
    shot: int,
    num_episodes: int,
    num_query: int,
    seed: int,
    count: Int[np.ndarray, " classes"] | None = None,
    draws: int = 1,
) -> float:
    """Accuracy of standard episodes: `num_query` queries of every class against all classes, by corrected counting.

    Each gathered support image serves way * num_query decisions, so this is the fast estimate for use during training.

    Args:
      model: Set model.
      params: Its parameters.
      elements: Cached elements [class, rotation, image].
      way: Classes per episode, different base classes with random rotations.
      shot: Support images per class.
      num_episodes: Number of episodes.
      num_query: Queries per class.
      seed: Seed of the episodes.
      count: Images of each class; None if all exist.
      draws: Of the latents, where densities are bounds.

    Returns:
      Mean accuracy in [0, 1].

    Raises:
      ValueError: Fewer than `way` classes have shot + num_query images.
    """
    count, num_rotations, max_count = _cache_shape(elements, count)
    rng = np.random.default_rng((seed, way, shot))
    episodes = draw_episodes(rng, count, num_rotations, max_count, way, shot, num_query, num_episodes)
    scores = score_episodes(model, params, elements, episodes, draws)
    _, correct = count_correct(scores, np.repeat(np.arange(way), num_query))
    return float(correct.mean())


def possible_settings(settings: Sequence[tuple[int, int]], count: Int[np.ndarray, " classes"]) -> list[tuple[int, int]]:
    """Those (way, shot) for which there are classes of shot + 1 images, as many as an episode has."""
    return [(way, shot) for way, shot in settings if int((count > shot).sum()) >= way]


def _cache_shape(elements: Element, count: np.ndarray | None) -> tuple[np.ndarray, int, int]:
    num_classes, num_rotations, max_count = jax.tree.leaves(elements)[0].shape[:3]
    return np.full(num_classes, max_count) if count is None else np.asarray(count), num_rotations, max_count

"""Anomalies in sequences of images of one class: sequences with a wrong element, and scores for every element.

The score of x_n is log p(x_n | others) - log p(x_n): how much better it fits its set than it fits alone. The others are
the elements before it (streaming) or all of them (leave one out). LOW scores are anomalies. Source: Korshunova et al.
2018, arXiv:1802.07535, section 4.4, and its code.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from exflow.errors import UserError
from exflow.evaluation import compiled, placement
from exflow.evaluation.analysis import streams
from exflow.evaluation.metrics.detection import FIRST, threshold
from exflow.evaluation.scoring import likelihood
from exflow.evaluation.scoring.episode_draws import draw_episodes
from exflow.model import Model
from exflow.typing import Element, Params

PROTOCOLS = ("labelled", "original")
FROM_END = 5  # the original replaces element T - 5


class Sequences(NamedTuple):
    """Sequences of images of one class, some of which are replaced by images of another class."""

    rows: Int[np.ndarray, "sequences set"]  # of elements [class, image], flattened
    anomalous: Bool[np.ndarray, "sequences set"]


def draw_sequences(
    rng: np.random.Generator,
    count: Int[np.ndarray, " classes"],
    max_count: int,
    set_size: int,
    num_sequences: int,
    protocol: str = "labelled",
    num_anomalies: int = 1,
) -> Sequences:
    """Draw sequences of distinct images of one random class each, and replace elements.

    Args:
      rng: Generator; its state is advanced.
      count: Images of each class; classes with fewer than `set_size` are left out.
      max_count: Length of the image axis of the cache.
      set_size: Elements of a sequence.
      num_sequences: Number of sequences.
      protocol: "labelled": elements at random positions from `FIRST` on, all from one other class. "original":
        element `set_size - 5`, by an image of any class, its own included; then it is no anomaly.
      num_anomalies: Replaced elements per sequence, "labelled" only.

    Returns:
      Rows and the truth about every element.

    Raises:
      UserError: Sequences are too short, or fewer than two classes have enough images.
    """
    if protocol not in PROTOCOLS:
        raise UserError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {protocol!r}.")
    shortest = FIRST + FROM_END if protocol == "original" else FIRST + num_anomalies + 1
    usable = int((count >= set_size).sum())
    if set_size < shortest or num_anomalies < 1:
        raise UserError(f"set_size: expected at least {shortest} for {num_anomalies} anomalies, got {set_size}.")
    if usable < 2:
        raise UserError(f"set_size: {usable} classes have {set_size} images, anomalies need 2. Use a smaller one.")
    pairs = draw_episodes(rng, count, 1, max_count, 2, set_size, num_query=0, num_episodes=num_sequences).support
    anomalous = np.zeros((num_sequences, set_size), bool)
    if protocol == "original":
        anomalous[:, set_size - FROM_END] = rng.random(num_sequences) >= 1 / usable
    else:
        places = rng.permuted(np.tile(np.arange(FIRST, set_size), (num_sequences, 1)), axis=1)[:, :num_anomalies]
        np.put_along_axis(anomalous, places, True, axis=1)
    return Sequences(np.where(anomalous, pairs[:, 1], pairs[:, 0]), anomalous)


def sequence_scores(
    model: Model, params: Params, elements: Element, rows: Int[np.ndarray, "sequences set"], leave_one_out: bool
) -> Float[np.ndarray, "sequences set"]:
    """Scores of all elements, each given the elements before it or all other elements, nats.

    Args:
      model: Set model.
      params: Its parameters.
      elements: Cached elements [class, 1, image].
      rows: Sequences as rows of the flattened elements.
      leave_one_out: Given all others.
    """
    sets = likelihood.Sets(rows, np.ones(rows.shape, bool))
    given, prior = likelihood.set_log_probs(model, params, elements, sets, leave_one_out)
    return given - prior


def rejecting_scores(
    model: Model, params: Params, elements: Element, rows: Int[np.ndarray, "sequences set"], first: int = FIRST
) -> tuple[Float[np.ndarray, "sequences set"], Bool[np.ndarray, "sequences set"]]:
    """Streaming scores where an element that is flagged is not absorbed, so that it cannot spoil what follows.

    Element n >= first is flagged when it arrives, if it lies below the threshold of the scores at the positions
    first / 2, ..., n - 1 (of all of them: what is left after rejection would be ever narrower).

    Args:
      model: Set model.
      params: Its parameters.
      elements: Cached elements [class, 1, image].
      rows: Sequences as rows of the flattened elements.
      first: Position from which on elements are judged.

    Returns:
      Scores in nats, and the flags.
    """
    params, table = placement.on_one_device(params), streams.flat(elements)
    num_sequences, set_size = rows.shape
    empty = states = compiled.empty_states(model, params, (num_sequences,))
    scores, accepted = np.zeros(rows.shape), np.ones(rows.shape, bool)
    for n in range(set_size):
        arriving = streams.take(table, rows[:, n])
        given, prior = (np.asarray(streams.log_prob(model, params, state, arriving)) for state in (states, empty))
        scores[:, n] = given - prior
        if n >= first:
            accepted[:, n] = ~(scores[:, n] < threshold(scores[:, first // 2 : n]))
        states = streams.absorb(model, params, states, arriving, accepted[:, n])
    return scores, ~accepted

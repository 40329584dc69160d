"""How beliefs change while images arrive: the density of a test image, and the probability of its class.

Source: Korshunova et al. 2018, arXiv:1802.07535, and the script test_probs_evolution of its code.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from exflow.evaluation import compiled, placement
from exflow.evaluation.analysis import streams
from exflow.model import Model
from exflow.typing import Element, Params


class Evolution(NamedTuple):
    """About one test image per sequence, after 0, 1, ..., n context images; nats."""

    score: Float[np.ndarray, "sequences steps"]  # log p(x | context) - log p(x)
    log_prob: Float[np.ndarray, "sequences steps"]  # log p(x | context)


def score_evolution(
    model: Model,
    params: Params,
    elements: Element,
    context: Int[np.ndarray, "sequences size"],
    test: Int[np.ndarray, " sequences"],
) -> Evolution:
    """Density of test images after growing parts of their contexts.

    Args:
      model: Set model.
      params: Its parameters.
      elements: Table of elements [rows].
      context: Rows of the context images, in the order in which they arrive.
      test: Row of the test image of each sequence.

    Returns:
      Values after 0, ..., size context images.
    """
    params = placement.on_one_device(params)
    states = compiled.empty_states(model, params, (len(test),))
    queries, everywhere = streams.take(elements, test), np.ones(len(test), bool)
    log_probs = [np.asarray(streams.log_prob(model, params, states, queries), np.float64)]
    for rows in context.T:
        states = streams.absorb(model, params, states, streams.take(elements, rows), everywhere)
        log_probs.append(np.asarray(streams.log_prob(model, params, states, queries), np.float64))
    log_prob = np.stack(log_probs, axis=1)
    return Evolution(log_prob - log_prob[:, :1], log_prob)


def posterior_evolution(
    model: Model,
    params: Params,
    elements: Element,
    support: Int[np.ndarray, "episodes way shots"],
    query: Int[np.ndarray, "episodes queries"],
) -> Float[np.ndarray, "episodes steps queries way"]:
    """Log-probability of every class for every query, while each class gets one more image per step.

    Args:
      model: Set model.
      params: Its parameters.
      elements: Table of elements [rows].
      support: Rows of the images of each class, in the order in which they arrive.
      query: Rows of the queries.

    Returns:
      log p(class | query) with equal class priors after 0, ..., shots images per class.
    """
    params = placement.on_one_device(params)
    states = compiled.empty_states(model, params, support.shape[:2])
    queries, everywhere = streams.take(elements, query), np.ones(support.shape[:2], bool)
    scores = [np.asarray(streams.class_log_probs(model, params, states, queries), np.float64)]
    for shot in range(support.shape[2]):
        states = streams.absorb(model, params, states, streams.take(elements, support[..., shot]), everywhere)
        scores.append(np.asarray(streams.class_log_probs(model, params, states, queries), np.float64))
    stacked = np.stack(scores, axis=1)
    return stacked - np.logaddexp.reduce(stacked, axis=-1, keepdims=True)

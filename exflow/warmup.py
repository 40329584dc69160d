"""Compiling what a service will call before its first request: every call once in every shape that is compiled."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from exflow.evaluation.compiled import power_of_two
from exflow.padding import call_sizes
from exflow.typing import State


class Sizes(NamedTuple):
    """The largest that will be asked for, at least 1 each."""

    set_size: int  # images of a state, of a scored set or of a class
    num_sets: int  # sets scored by one call
    num_classes: int  # of one classification
    num_images: int  # images, each on its own, that one call scores, classifies or encodes
    num_samples: int  # of one call


class Requests:
    """Arguments of all shapes; images are zero."""

    def __init__(self, model: Any, sizes: Sizes, key: int | None, num_importance_samples: int | None):
        """Keep what they depend on.

        Args:
          model: A `TrainedModel`.
          sizes: Of what will be asked for.
          key: Of the noise, as calls will give it or not.
          num_importance_samples: Of densities.
        """
        self.model, self.sizes, self.noise = model, sizes, {"key": key}
        self.density = {"key": key, "num_importance_samples": num_importance_samples}
        sets = model.core.sets
        self.states_grow = sets is not None and sets.compact is not None

    def images(self, *leading: int) -> np.ndarray:
        """Images [*leading, h, w, c]."""
        return np.zeros((*leading, *self.model.image_shape), self.model.core.value_dtype)

    def context(self, *leading: int, name: str = "context") -> dict[str, np.ndarray]:
        """Their contexts as an argument; none for a model that takes none."""
        width = self.model.context_dim
        return {name: np.ones((*leading, width), np.float32)} if width else {}

    def states(self) -> Iterator[tuple[int, State]]:
        """States of every shape, and the least number of images that sets of this shape have."""
        empty = self.model.init_state()
        yield 0, empty
        for number in least_numbers(self.sizes.set_size) if self.states_grow else ():
            yield number, self.model.update(empty, self.images(number), **self.noise, **self.context(number))


def least_numbers(largest: int) -> list[int]:
    """Numbers up to the largest, one for each power of two that numbers are padded to: 1, 2, 3, 5, 9, ..."""
    return [1, *(number for number in range(2, largest + 1) if power_of_two(number) > power_of_two(number - 1))]


def _update(ask: Requests) -> None:
    for seen, state in ask.states():
        for number in least_numbers(max(1, ask.sizes.set_size - seen)):
            ask.model.update(state, ask.images(number), **ask.noise, **ask.context(number))


def _remove(ask: Requests) -> None:
    one, options = ask.images(1), ask.noise | ask.context(1)
    for seen, state in ask.states():
        ask.model.remove(state if seen else ask.model.update(state, one, **options), one, **options)


def _merge(ask: Requests) -> None:
    for _, a in ask.states():
        for _, b in ask.states():
            ask.model.merge(a, b)


def _log_prob(ask: Requests) -> None:
    for _, state in ask.states():
        for number in call_sizes(ask.sizes.num_images):
            ask.model.log_prob(state, ask.images(number), **ask.density, **ask.context(number))


def _sample(ask: Requests) -> None:
    sets = ask.model.core.sets is not None
    states = [state for _, state in ask.states()] if sets else []
    for number in least_numbers(ask.sizes.num_samples):
        for state in states:
            for coherent in (False, True):
                ask.model.sample(state, 0, number, coherent, **ask.context(number))
        if ask.model.fitted is not None:
            ask.model.sample(None, 0, number)


def _classify(ask: Requests) -> None:
    for shot in least_numbers(ask.sizes.set_size):
        for way in least_numbers(ask.sizes.num_classes):
            for number in call_sizes(ask.sizes.num_images):
                contexts = ask.context(way, shot, name="support_context") | ask.context(number, name="query_context")
                ask.model.classify(ask.images(way, shot), ask.images(number), **ask.density, **contexts)


def _of_sets(ask: Requests, call: Callable[..., Any], **options: Any) -> None:
    for number in call_sizes(ask.sizes.num_sets):
        for size in least_numbers(ask.sizes.set_size):
            call(ask.images(number, size), **options)


def _scores(ask: Requests, call: Callable[..., Any], **options: Any) -> None:
    def with_context(images: np.ndarray, **options: Any) -> None:
        call(images, **options, **ask.context(*images.shape[:2]))

    _of_sets(ask, with_context, **ask.density, **options)


def _anomaly_scores(ask: Requests) -> None:
    for leave_one_out in (False, True):
        _scores(ask, ask.model.anomaly_scores, leave_one_out=leave_one_out)


def _encode(ask: Requests) -> None:
    sizes = ask.sizes
    of_sets = sizes.set_size * max(sizes.num_sets, sizes.num_classes)
    for number in call_sizes(sizes.num_images + of_sets):  # both together, as in a classification
        ask.model.encode(ask.images(number), **ask.noise, **ask.context(number))


OF_SETS: dict[str, Callable[[Requests], None]] = {
    "update": _update,
    "remove": _remove,
    "merge": _merge,
    "log_prob": _log_prob,
    "classify": _classify,
    "conditional_log_probs": lambda ask: _scores(ask, ask.model.conditional_log_probs),
    "set_log_prob": lambda ask: _scores(ask, ask.model.set_log_prob),
    "anomaly_scores": _anomaly_scores,
}
CALLS = (*OF_SETS, "sample", "reconstruct", "encode")


def warm(ask: Requests, calls: tuple[str, ...]) -> None:
    """Make the calls that the model can answer.

    Args:
      ask: What to ask.
      calls: Names out of `CALLS`.

    Raises:
      ValueError: An unknown name, or a size below 1.
    """
    unknown = [name for name in calls if name not in CALLS]
    if unknown:
        raise ValueError(f"calls: expected names out of {', '.join(CALLS)}, got {unknown[0]!r}. Correct it.")
    for name, size in ask.sizes._asdict().items():
        if size < 1:
            raise ValueError(f"{name}: expected at least 1, got {size}. Give the largest that will be asked for.")
    core = ask.model.core
    _encode(ask)  # which all of them need
    for name in calls:
        if name in OF_SETS and core.sets is not None:
            OF_SETS[name](ask)
    if "sample" in calls and (core.sets is not None or ask.model.fitted is not None):
        _sample(ask)
    if "reconstruct" in calls and core.codes is not None:
        for number in call_sizes(ask.sizes.set_size * ask.sizes.num_sets):
            ask.model.reconstruct(ask.images(number))
    elif "reconstruct" in calls and core.latents is not None:
        _of_sets(ask, ask.model.reconstruct)

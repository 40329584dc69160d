"""A service that answers requests of random sizes, and the programs that it compiles."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from exflow.api import TrainedModel
from exflow.warmup import Sizes

COMPILED = "/jax/core/compile/backend_compile_duration"  # also of programs that are read from a cache
_durations: list[float] = []


def _note(event: str, duration: float, **facts: Any) -> None:
    del facts
    if event == COMPILED:
        _durations.append(duration)


jax.monitoring.register_event_duration_secs_listener(_note)


def compilations() -> int:
    """Programs that this process has compiled so far."""
    return len(_durations)


class Service:
    """One state that grows and shrinks, and requests of every kind around it."""

    def __init__(self, model: TrainedModel, sizes: Sizes, seed: int = 0):
        """Begin with the empty set.

        Args:
          model: A model of sets.
          sizes: Of the largest requests.
          seed: Of images, sizes and order.
        """
        self.model, self.sizes, self.rng = model, sizes, np.random.default_rng(seed)
        self.state, self.seen = model.init_state(), self._images(0)
        self.calls: dict[str, Callable[[], Any]] = {
            "update": self._update,
            "remove": self._remove,
            "merge": self._merge,
            "log_prob": lambda: self._each(lambda x, **given: model.log_prob(self.state, x, **given)),
            "sample": self._sample,
            "classify": self._classify,
            "conditional_log_probs": lambda: self._score(model.conditional_log_probs),
            "set_log_prob": lambda: self._score(model.set_log_prob),
            "anomaly_scores": lambda: self._score(model.anomaly_scores, leave_one_out=self.rng.random() < 0.5),
            "encode": lambda: self._each(model.encode),
        }
        if model.core.latents is not None:
            self.calls["reconstruct"] = lambda: model.reconstruct(*self._sets())

    def request(self) -> str:
        """Answer one; returns which."""
        name = str(self.rng.choice(list(self.calls)))
        jax.block_until_ready(self.calls[name]())
        return name

    def _up_to(self, largest: int) -> int:
        return int(self.rng.integers(1, largest + 1))

    def _images(self, *leading: int) -> np.ndarray:
        shape = (*leading, *self.model.image_shape)
        if self.model.core.of_vectors:
            return self.rng.normal(size=shape).astype(np.float32)
        return self.rng.integers(0, 256, shape, np.uint8)

    def _sets(self) -> tuple[np.ndarray, np.ndarray]:
        """Ragged sets, some perhaps empty, and their mask."""
        shape = self._up_to(self.sizes.num_sets), self._up_to(self.sizes.set_size)
        return self._images(*shape), self.rng.random(shape) < 0.8

    def _context(self, *leading: int) -> dict[str, np.ndarray]:
        """The argument that a conditional model wants beside images; all see the same."""
        width = self.model.context_dim
        return {"context": np.ones((*leading, width), np.float32)} if width else {}

    def _each(self, call: Callable[..., Any]) -> Any:
        images = self._images(self._up_to(self.sizes.num_images))
        return call(images, **self._context(len(images)))

    def _score(self, call: Callable[..., Any], **options: Any) -> Any:
        images, mask = self._sets()
        return call(images, mask, **options, **self._context(*mask.shape))

    def _sample(self) -> Any:
        number = self._up_to(self.sizes.num_samples)
        return self.model.sample(self.state, 0, number, **self._context(number))

    def _update(self) -> Any:
        if len(self.seen) == self.sizes.set_size:  # a new set
            self.state, self.seen = self.model.init_state(), self._images(0)
        images = self._images(self._up_to(self.sizes.set_size - len(self.seen)))
        self.state = self.model.update(self.state, images, **self._context(len(images)))
        self.seen = np.concatenate([self.seen, images])
        return self.state.content

    def _remove(self) -> Any:
        if not len(self.seen):
            return None
        number = self._up_to(len(self.seen))
        self.state = self.model.remove(self.state, self.seen[:number], **self._context(number))
        self.seen = self.seen[number:]
        return self.state.content

    def _merge(self) -> Any:
        room = self.sizes.set_size - len(self.seen)
        images = self._images(self._up_to(room) if room else 0)
        other = self.model.update(self.model.init_state(), images, **self._context(len(images)))
        self.state = self.model.merge(self.state, other)
        self.seen = np.concatenate([self.seen, images])
        return self.state.content

    def _classify(self) -> Any:
        shots = [self._up_to(self.sizes.set_size) for _ in range(self._up_to(self.sizes.num_classes))]
        queries = self._images(self._up_to(self.sizes.num_images))
        known: dict[str, Any] = {}
        if self.model.context_dim:
            support = [self._context(shot)["context"] for shot in shots]
            known = {"support_context": support, "query_context": self._context(len(queries))["context"]}
        return self.model.classify([self._images(shot) for shot in shots], queries, **known)

"""Initial values of many parameters from one draw of random numbers.

XLA:CPU compiles every draw of another shape for a tenth of a second, which for a network of a hundred parameters takes
longer than its training step. `at_once` draws all numbers together and lets the initializers cut theirs off.
"""

import contextvars
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exflow.typing import PRNGKey


class _Numbers:
    """Uniform numbers in [-1, 1) of which parts are taken one after the other; without numbers it only counts."""

    def __init__(self, values: Array | None):
        self.values, self.taken = values, 0

    def take(self, shape: tuple[int, ...]) -> Array:
        size = math.prod(shape)
        start, self.taken = self.taken, self.taken + size
        return jnp.zeros(shape) if self.values is None else self.values[start : start + size].reshape(shape)


_current: contextvars.ContextVar[_Numbers | None] = contextvars.ContextVar("_current", default=None)


def at_once(key: PRNGKey, init: Callable[[], Any]) -> Any:
    """Run `init`, all its calls of `uniform` fed by one draw.

    Args:
      key: Random key.
      init: Initialisation of modules that are not repeated by `flax.linen.scan`, whose copies would be equal.

    Returns:
      What `init` returns.
    """
    counter = _Numbers(None)
    token = _current.set(counter)
    try:
        jax.eval_shape(init)
        _current.set(_Numbers(jax.random.uniform(key, (counter.taken,), minval=-1.0, maxval=1.0)))
        return init()
    finally:
        _current.reset(token)


def uniform(key: PRNGKey, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Uniform numbers in [-1, 1): the next ones of `at_once`, outside of it drawn with the key."""
    numbers = _current.get()
    if numbers is None:
        return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
    return numbers.take(shape)

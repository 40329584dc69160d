"""Initial values of many parameters from one draw of random numbers.

XLA:CPU compiles every draw of another shape for a tenth of a second, which for a network of a hundred parameters takes
longer than its training step. `init_at_once` runs the modules with zeros in place of random parameters, notes in a Flax
collection what each of them wants, and makes them of one draw, in the order in which the modules created them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from exflow.typing import PRNGKey

COLLECTION = "initial_numbers"
Law = Callable[[Array], Array]  # of uniform numbers to initial values


def init_at_once(key: PRNGKey, module: nn.Module, *inputs: Any) -> dict[str, Any]:
    """`module.init(key, *inputs)` whose calls of `from_uniform` are fed by one draw.

    Args:
      key: Random key.
      module: Without modules repeated by `flax.linen.scan`, which do not see the collection.
      inputs: Of the module.

    Returns:
      Collections of variables, as `module.init` returns them.
    """
    wanted: list[tuple[Array, Law]] = []
    variables: Any = module.apply({COLLECTION: {"wanted": wanted}}, *inputs, rngs={"params": key}, mutable=True)[1]
    numbers = _uniform(key, (sum(zeros.size for zeros, _ in wanted),))
    values, start = {}, 0
    for zeros, law in wanted:
        values[id(zeros)] = law(numbers[start : start + zeros.size].reshape(zeros.shape))
        start += zeros.size
    variables = {name: part for name, part in variables.items() if name != COLLECTION}
    return jax.tree.map(lambda leaf: values.get(id(leaf), leaf), variables)


def from_uniform(module: nn.Module, key: PRNGKey, shape: tuple[int, ...], law: Law) -> Float[Array, "..."]:
    """Initial values `law(u)` of a parameter, of independent uniform u in [-1, 1): zeros until `init_at_once` draws."""
    assert module.scope is not None  # a module that creates parameters is bound
    root = module.scope.root
    if not root.has_variable(COLLECTION, "wanted"):
        return law(_uniform(key, shape))
    zeros = jnp.zeros(shape)
    root.get_variable(COLLECTION, "wanted").append((zeros, law))
    return zeros


def _uniform(key: PRNGKey, shape: tuple[int, ...]) -> Array:
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)

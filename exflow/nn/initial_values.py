"""Initial values of many parameters from one draw of random numbers.

XLA:CPU compiles every draw of another shape for a tenth of a second, which for a network of a hundred parameters takes
longer than its training step. `init_at_once` draws all numbers together and hands them to the modules as a Flax
collection, from which each initializer takes the next ones, in the order in which parameters are created.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from exflow.typing import PRNGKey

COLLECTION = "initial_numbers"


def init_at_once(key: PRNGKey, module: nn.Module, *inputs: Any) -> dict[str, Any]:
    """`module.init(key, *inputs)` whose calls of `uniform` are fed by one draw.

    Args:
      key: Random key.
      module: Without modules repeated by `flax.linen.scan`, which do not see the collection.
      inputs: Of the module.

    Returns:
      Collections of variables, as `module.init` returns them.
    """

    def init(numbers: Array | None) -> dict[str, Any]:
        given = {COLLECTION: {"values": numbers, "taken": 0}}
        variables: Any = module.apply(given, *inputs, rngs={"params": key}, mutable=True)[1]
        return {name: values for name, values in variables.items() if name != COLLECTION}

    shapes = jax.eval_shape(lambda: init(None)["params"])
    total = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))  # constants leave some of them unused
    return init(_uniform(key, (total,)))


def uniform(module: nn.Module, key: PRNGKey, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Uniform numbers in [-1, 1) for a parameter: the next ones of `init_at_once`, otherwise drawn with the key."""
    assert module.scope is not None  # a module that creates parameters is bound
    root = module.scope.root
    if not root.has_variable(COLLECTION, "values"):
        return _uniform(key, shape)
    start = root.get_variable(COLLECTION, "taken")
    stop = start + math.prod(shape)
    root.put_variable(COLLECTION, "taken", stop)
    values = root.get_variable(COLLECTION, "values")
    return jnp.zeros(shape) if values is None else values[start:stop].reshape(shape)  # None: only shapes are asked for


def _uniform(key: PRNGKey, shape: tuple[int, ...]) -> Array:
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)

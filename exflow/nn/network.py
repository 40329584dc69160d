"""The one bridge from Flax modules to the pure functions that `exflow.core` works with."""

from functools import partial
from typing import Any

import jax
from flax import linen as nn

from exflow.typing import Network, Params


def network(module: nn.Module) -> Network:
    """Wrap a Flax module without mutable collections as a `Network`.

    Args:
      module: Any Linen module; its call arguments become the inputs of the network.

    Returns:
      `init(key, *inputs) -> params` and `apply(params, *inputs) -> outputs`, both pure.
    """
    return Network(
        init=lambda key, *inputs: module.init(key, *inputs)["params"],
        apply=partial(_apply, module),
    )


@partial(jax.jit, static_argnums=0, inline=True)
def _apply(module: nn.Module, params: Params, *inputs: Any) -> Any:
    """Outputs; equal modules are traced once for inputs of a shape, in whatever program they are."""
    return module.apply({"params": params}, *inputs)

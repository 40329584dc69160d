"""The one bridge from Flax modules to the pure functions that `exflow.core` works with."""

from flax import linen as nn

from exflow.typing import Network


def network(module: nn.Module) -> Network:
    """Wrap a Flax module without mutable collections as a `Network`.

    Args:
      module: Any Linen module; its call arguments become the inputs of the network.

    Returns:
      `init(key, *inputs) -> params` and `apply(params, *inputs) -> outputs`, both pure.
    """
    return Network(
        init=lambda key, *inputs: module.init(key, *inputs)["params"],
        apply=lambda params, *inputs: module.apply({"params": params}, *inputs),
    )

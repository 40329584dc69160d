"""The gated step that recurrent modules of all chains share."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from exflow.models.matnet.networks.layers import Map, Mode, Norm, activated
from exflow.models.matnet.networks.plan import Style


def gated(
    h: Float[Array, "batch ... features"],
    inputs: Callable[[Array], tuple[Array, ...]],
    style: Style,
    taps: tuple[int, ...],
    mode: Mode,
) -> Float[Array, "batch ... features"]:
    """u, r = sigmoid(norm(map(inputs(h))) + 1), n = phi(norm(map(inputs(r h)))), next state u h + (1 - u) n.

    The published code takes the kernel of r for n as well, and never uses the one made for it; here n has its own.

    Args:
      h: State.
      inputs: What the maps see beside each other, from the state or what the reset gate leaves of it.
      style: Of the layers, which are modules of the one whose `__call__` runs; phi is its activation.
      taps: Spatial shape of kernels.
      mode: Of normalisation and noise.
    """
    width = h.shape[-1]
    gates = Norm(style)(Map(2 * width, style, taps)(*inputs(h)), mode)
    keep, reset = jnp.split(nn.sigmoid(gates + 1.0), 2, axis=-1)
    new = activated(style, Norm(style)(Map(width, style, taps)(*inputs(reset * h)), mode))
    return keep * h + (1.0 - keep) * new

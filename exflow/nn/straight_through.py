"""Signs with a gradient: what stands in for the derivative of a step, which is zero.

Sources: Bengio, Leonard & Courville 2013, arXiv:1308.3432 (straight-through); Courbariaux et al. 2016,
arXiv:1602.02830 (clipped).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exflow.typing import PRNGKey

GRADIENTS = ("tanh", "clip", "stochastic")


def sign(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """-1 or 1; of 0 it is 1."""
    return jnp.where(x >= 0, 1.0, -1.0).astype(x.dtype)


def straight_through(value: Float[Array, "..."], surrogate: Float[Array, "..."]) -> Float[Array, "..."]:
    """`value`, whose gradient goes to `surrogate` unchanged."""
    return jax.lax.stop_gradient(value) + (surrogate - jax.lax.stop_gradient(surrogate))  # exact: the sum adds zero


def binarize(
    a: Float[Array, "..."], gradient: str = "tanh", key: PRNGKey | None = None
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Bits of real numbers.

    Args:
      a: What comes out of a layer.
      gradient: What dL/da is, given that dL/dz is known: "tanh" dL/dz (1 - tanh(a)^2), as published for the latent
        Bernoulli autoencoder; "clip" dL/dz where |a| <= 1, else 0; "stochastic" that of "tanh", of bits that are drawn:
        1 with probability (1 + tanh(a)) / 2.
      key: Of "stochastic"; without one its bits are signs, too.

    Returns:
      Bits z in {-1, 1}, and the surrogate t in [-1, 1] whose gradient they have.

    Raises:
      ValueError: `gradient` is unknown.
    """
    if gradient not in GRADIENTS:
        raise ValueError(f"gradient: expected one of {GRADIENTS}, got {gradient!r}.")
    surrogate = jnp.clip(a, -1.0, 1.0) if gradient == "clip" else jnp.tanh(a)
    bits = sign(a)
    if gradient == "stochastic" and key is not None:
        bits = sign(surrogate - jax.random.uniform(key, a.shape, a.dtype, -1.0, 1.0))
    return straight_through(bits, surrogate), surrogate


def flipped(bits: Float[Array, "..."], key: PRNGKey, probability: float) -> Float[Array, "..."]:
    """Each of the bits in {-1, 1} with its sign changed with this probability; so is its gradient's."""
    return jnp.where(jax.random.bernoulli(key, probability, bits.shape), -bits, bits)

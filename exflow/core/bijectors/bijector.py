"""Bijectors: invertible maps as three pure functions, and how to compose them."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from exflow.typing import Array, Params, PRNGKey


class Bijector(NamedTuple):
    """Invertible map x -> z of batches `[batch, *event]` as three pure functions.

    Forward is the direction of density evaluation, so `log p(x) = log p(z) + log_det`. `log_det` is the logarithm of
    the absolute Jacobian determinant of the map just computed, in nats, one value per example: `[batch]`. The two
    directions return values that cancel. `context` is optional everywhere and ignored by maps that take none.

    A new bijector is a function returning this tuple; one line in `tests/core/registry.py` tests it.
    """

    init: Callable[..., Params]  # (key, x, context=None) -> params; may look at the batch x
    forward: Callable[..., tuple[Array, Array]]  # (params, x, context=None) -> (z, log_det)
    inverse: Callable[..., tuple[Array, Array]]  # (params, z, context=None) -> (x, log_det)


def no_params(key: PRNGKey, x: Array, context=None) -> Params:
    """`init` of a bijector without parameters: the empty tuple."""
    del key, x, context
    return ()


def chain(*bijectors: Bijector) -> Bijector:
    """Apply `bijectors` one after the other, the first to the data.

    `init` hands the batch through the maps already initialised, so that data-dependent initialisation works.

    Args:
      bijectors: At least one map.

    Returns:
      The composition; its params are a tuple with one entry per bijector.

    Raises:
      ValueError: There is no bijector.
    """
    if not bijectors:
        raise ValueError("bijectors: expected at least one, got none. Pass the maps in the order data to latent.")

    def init(key: PRNGKey, x: Array, context=None) -> Params:
        params = []
        for element, element_key in zip(bijectors, jax.random.split(key, len(bijectors)), strict=True):
            params.append(element.init(element_key, x, context))
            if len(params) < len(bijectors):
                x, _ = element.forward(params[-1], x, context)
        return tuple(params)

    def forward(params: Params, x: Array, context=None) -> tuple[Array, Array]:
        return _run([element.forward for element in bijectors], list(params), x, context)

    def inverse(params: Params, z: Array, context=None) -> tuple[Array, Array]:
        return _run([element.inverse for element in reversed(bijectors)], list(reversed(params)), z, context)

    return Bijector(init, forward, inverse)


def _run(maps: list[Callable], params: list[Params], x: Array, context) -> tuple[Array, Array]:
    if len(maps) != len(params):
        raise ValueError(
            f"params: expected {len(maps)} entries, one per bijector, got {len(params)}. Use the params of init."
        )
    x, total = maps[0](params[0], x, context)
    for step, step_params in zip(maps[1:], params[1:], strict=True):
        x, log_det = step(step_params, x, context)
        total = total + log_det
    return x, total


def rematerialized(bijector: Bijector) -> Bijector:
    """The same map, recomputing its activations in the backward pass instead of storing them."""
    return Bijector(bijector.init, jax.checkpoint(bijector.forward), jax.checkpoint(bijector.inverse))

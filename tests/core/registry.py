"""What the shared tests of exflow.core run on: a new bijector or process is tested by adding one line."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core import gaussian_process, low_rank_process, mixture_process, student_t_process
from exflow.core.bijectors.affine import scale
from exflow.core.bijectors.bijector import Bijector, chain, rematerialized
from exflow.core.bijectors.coupling import (
    affine_coupling,
    alternate,
    alternate_mask,
    channel,
    checkerboard,
    flat_checkerboard,
)
from exflow.core.bijectors.logit import logit
from exflow.core.bijectors.rotation import turn_back
from exflow.core.bijectors.spline import num_outputs, spline_coupling
from exflow.core.bijectors.squeeze import factor_out, flatten, squeeze, squeezed_shape
from exflow.core.bijectors.whitening import Whitening, linear_whiten
from exflow.typing import Network
from tests.core.process_cases import LowRankCase, ProcessCase


class BijectorCase(NamedTuple):
    """A bijector, the shape of one example, the range x is drawn from, and the size of its context (0: none)."""

    build: Callable[[], Bijector]
    event_shape: tuple[int, ...]
    low: float = -2.0
    high: float = 2.0
    context_dim: int = 0


def mixing_network(outputs_per_entry: int = 2) -> Network:
    """A conditioner in which every output depends on every input and on the context, with random non-zero heads.

    Two outputs per entry come as a pair, any other number on a last axis.

    Its slopes are moderate, so that float32 round trips measure the coupling and not a chaotic network.
    """

    def init(key, x, context=None):
        dim = int(np.prod(x.shape[1:]))
        width = dim if context is None else dim + context.shape[-1]
        return 0.3 * jax.random.normal(key, (outputs_per_entry, width, dim)) / width**0.5

    def apply(params, x, context=None):
        inputs = x.reshape(x.shape[0], -1)
        if context is not None:
            inputs = jnp.concatenate([inputs, context], axis=-1)
        outputs = [jnp.sin(inputs @ matrix).reshape(x.shape) for matrix in params]
        return tuple(outputs) if outputs_per_entry == 2 else jnp.stack(outputs, axis=-1)

    return Network(init, apply)


def coupling(mask) -> Bijector:
    return affine_coupling(mask, mixing_network())


def spline_flow(mask, num_bins: int = 5, bound: float = 1.5) -> Bijector:
    """With entries of the default range [-2, 2] some lie beyond the bound."""
    return spline_coupling(mask, mixing_network(num_outputs(num_bins)), num_bins, bound)


def two_scale_flow(image_shape: tuple[int, int, int]) -> Bijector:
    """The BRUNO stack on pixels, with two couplings of each kind."""
    boards = [coupling(checkerboard(parity)) for parity in (0, 1)]
    channels = [coupling(channel(parity)) for parity in (0, 1)]
    inner = chain(*(coupling(checkerboard(parity)) for parity in (0, 1)))
    dense = [coupling(alternate(parity)) for parity in (0, 1)]
    last = [flatten(squeezed_shape(image_shape)), *dense]
    return chain(scale(1 / 256), logit(), *boards, squeeze(), *channels, factor_out(inner), *last)


def three_scale_flow() -> Bijector:
    inner = chain(coupling(checkerboard(0)), squeeze(), coupling(channel(1)), factor_out(coupling(checkerboard(1))))
    return chain(coupling(checkerboard(0)), squeeze(), coupling(channel(0)), factor_out(inner))


def whitening() -> Bijector:
    """Whitening with axes that float32 holds exactly."""
    axes = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], np.float32) / 2
    params = Whitening(*map(jnp.asarray, ([90, 110, 128, 140.0], axes, [3.0, 0.5, 0.02, 0.1])))
    return linear_whiten()._replace(init=lambda key, x, context=None: params)


BIJECTORS: dict[str, BijectorCase] = {
    "scale": BijectorCase(lambda: scale(-1 / 256), (3, 2), 0.0, 256.0),
    "logit": BijectorCase(logit, (5,), 0.0, 1.0),
    "logit_wide": BijectorCase(lambda: logit(0.05), (2, 3), 0.0, 1.0),
    "squeeze": BijectorCase(squeeze, (4, 2, 3)),
    "flatten": BijectorCase(lambda: flatten((2, 3, 2)), (2, 3, 2)),
    "linear_whiten": BijectorCase(whitening, (2, 2, 1), 0.0, 256.0),
    "turn_back_even": BijectorCase(turn_back, (6, 6, 1), context_dim=2),
    "turn_back_odd": BijectorCase(turn_back, (5, 5, 2), context_dim=2),
    "coupling_checkerboard0": BijectorCase(lambda: coupling(checkerboard(0)), (4, 3, 2)),
    "coupling_checkerboard1": BijectorCase(lambda: coupling(checkerboard(1)), (4, 3, 1)),
    "coupling_channel0": BijectorCase(lambda: coupling(channel(0)), (2, 2, 4)),
    "coupling_channel1": BijectorCase(lambda: coupling(channel(1)), (2, 3, 2)),
    "coupling_even": BijectorCase(lambda: coupling(alternate(0)), (7,)),
    "coupling_odd": BijectorCase(lambda: coupling(alternate(1)), (6,)),
    "coupling_array_mask": BijectorCase(lambda: coupling(alternate_mask((3, 3), 1)), (3, 3)),
    "coupling_context": BijectorCase(lambda: coupling(alternate(0)), (5,), context_dim=3),
    "coupling_learned_range": BijectorCase(
        lambda: affine_coupling(channel(0), mixing_network(), learned_range=True), (2, 1, 4)
    ),
    "coupling_flat_checkerboard": BijectorCase(lambda: coupling(flat_checkerboard((2, 3, 1), 1)), (6,)),
    "spline_even": BijectorCase(lambda: spline_flow(alternate(0)), (7,)),
    "spline_checkerboard": BijectorCase(lambda: spline_flow(checkerboard(1), num_bins=2, bound=3.0), (3, 2, 2)),
    "spline_context": BijectorCase(lambda: spline_flow(alternate(1)), (4,), context_dim=2),
    "spline_chain": BijectorCase(lambda: chain(spline_flow(alternate(0)), spline_flow(alternate(1))), (6,)),
    "factor_out": BijectorCase(lambda: factor_out(coupling(checkerboard(0))), (2, 2, 4)),
    "chain_context": BijectorCase(
        lambda: chain(scale(2.0), coupling(alternate(0)), coupling(alternate(1))), (4,), context_dim=2
    ),
    "rematerialized": BijectorCase(lambda: rematerialized(coupling(alternate(0))), (4,)),
    "two_scale_flow": BijectorCase(lambda: two_scale_flow((8, 8, 1)), (8, 8, 1), 0.0, 256.0),
    "three_scale_flow": BijectorCase(three_scale_flow, (8, 8, 1)),
}


PROCESSES: dict[str, ProcessCase] = {
    "gaussian_process": ProcessCase(gaussian_process, ("mean", "variance", "covariance"), 1.0),
    "student_t_process": ProcessCase(student_t_process, ("mean", "variance", "covariance", "degrees_of_freedom"), 0.0),
    "mixture_process": ProcessCase(
        mixture_process, ("mean", "variance", "covariance", "degrees_of_freedom", "gaussian_weight"), None
    ),
    "low_rank_process": LowRankCase(low_rank_process, ("mean", "variance", "covariance", "factor"), 1.0),
}
BEYOND_THE_PAPER = ("mixture_process", "low_rank_process")  # their shared tests run with the slow ones
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in BEYOND_THE_PAPER else name for name in PROCESSES]
INDEPENDENT = NAMES[:-1]  # dimensions do not interact


FUNCTIONS = (
    *("log_prob", "log_prob_recurrent", "log_prob_parallel", "leave_one_out_log_prob", "predictive_log_prob"),
    *("predictive", "class_log_probs", "update", "update_set", "merge", "remove", "constrain", "unconstrain"),
)

# Each function of each process, compiled once per shape: eager calls would compile every operation by itself.
COMPILED = {
    name: SimpleNamespace(
        **{function: jax.jit(getattr(case.module, function)) for function in FUNCTIONS},
        **{
            function: jax.jit(getattr(case.module, function), static_argnums=3)
            for function in ("sample", "sample_joint")
        },
    )
    for name, case in PROCESSES.items()
}

"""Every module of a Matryoshka network against its formula in NumPy, in float64, of vectors and of maps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.models.matnet.networks.blocks import BottomUpResidual, FromTop, Projection, ToTop
from exflow.models.matnet.networks.layers import Mode, Plain
from exflow.models.matnet.networks.merge import GruMerge, StatefulMerge, StatelessMerge
from exflow.models.matnet.networks.plan import Style
from exflow.models.matnet.networks.top_down_blocks import GruBlock, ProjectionBlock, TopDownResidual
from tests.models.matnet import reference
from tests.models.parameters import random_like

BATCH, MAPS = 3, (3, 3)
BARE, NORMALIZED = (Style(kind, 0.0, "leaky_relu", "orthogonal") for kind in ("none", "batch_statistics"))
TANH = NORMALIZED._replace(activation="tanh")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=(BATCH, *shape))


def states(taps, *widths):
    return [normal(*((4, 4) if taps else ()), width, seed=width) for width in widths]


def case(module, inputs, formula, phi=reference.leaky, first=True):
    """A module, what it is called with (the mode first or last), and what its formula is called with."""
    called = (lambda mode: (mode, *inputs)) if first else (lambda mode: (*inputs, mode))
    return module, called, lambda p: formula(p, phi, *inputs)


H, Z, B = states(MAPS, 3, 2, 4)
VECTOR_H, VECTOR_Z, VECTOR_B = states((), 3, 2, 4)
S, VECTOR_S, SAME_B = H**2, VECTOR_H**2, H - 1.0  # features as wide as the state, for their difference
FROM = (normal(2), (2, 2, 3))
CASES = {
    "dense": case(Plain(6, NORMALIZED), (VECTOR_H,), reference.plain),
    "dense bare": case(Plain(6, BARE), (VECTOR_H, VECTOR_Z), reference.plain),
    "maps": case(Plain(6, NORMALIZED, MAPS), (H, Z), reference.plain),
    "down": case(Plain(6, BARE, MAPS, "down"), (H,), lambda p, phi, u: reference.plain(p, phi, u, way="down")),
    "up": case(Plain(6, BARE, MAPS, "up"), (H, Z), lambda p, phi, *u: reference.plain(p, phi, *u, way="up")),
    "from the top": (
        FromTop(FROM[1], 5, True, NORMALIZED),
        lambda mode: (FROM[0], mode),
        lambda p: reference.from_top(p, reference.leaky, *FROM),
    ),
    "from the top, no shortcut": (
        FromTop(FROM[1], 5, False, BARE),
        lambda mode: (FROM[0], mode),
        lambda p: reference.from_top(p, reference.leaky, *FROM),
    ),
    "to the top": case(ToTop(4, 5, True, NORMALIZED), (H,), reference.to_top, first=False),
    "to the top, no shortcut": case(ToTop(4, 5, False, BARE), (H,), reference.to_top, first=False),
    "bottom-up": case(BottomUpResidual(3, NORMALIZED, MAPS), (H,), reference.bottom_up_residual),
    "projection": case(Projection(6, NORMALIZED, MAPS), (H,), reference.projection),
    "projection down": case(
        Projection(6, NORMALIZED, MAPS, "down"), (H,), lambda p, phi, u: reference.projection(p, phi, u, "down")
    ),
    "projection up": case(
        Projection(6, BARE, MAPS, "up"), (H,), lambda p, phi, u: reference.projection(p, phi, u, "up")
    ),
    "residual maps": case(TopDownResidual(3, NORMALIZED, MAPS), (H, Z), reference.residual, first=False),
    "residual vectors": case(TopDownResidual(3, NORMALIZED, ()), (VECTOR_H, VECTOR_Z), reference.residual, first=False),
    "stochastic up": case(ProjectionBlock(6, NORMALIZED, MAPS), (H, Z), reference.stochastic_projection, first=False),
    "stochastic vectors": case(
        ProjectionBlock(3, NORMALIZED, ()), (VECTOR_H, VECTOR_Z), reference.stochastic_projection, first=False
    ),
    "recurrent": case(GruBlock(3, TANH, MAPS), (H, Z), reference.gru, np.tanh, first=False),
    "merge maps": case(StatefulMerge(4, NORMALIZED, MAPS), (H, B, S), reference.merge, first=False),
    "merge vectors": case(
        StatefulMerge(4, NORMALIZED, ()), (VECTOR_H, VECTOR_B, VECTOR_S), reference.merge, first=False
    ),
    "merge the difference": case(
        StatefulMerge(4, BARE, MAPS, True),
        (H, SAME_B, S),
        lambda *args: reference.merge(*args, difference=True),
        first=False,
    ),
    "merge without state": case(
        StatelessMerge(4, NORMALIZED, MAPS), (H, B, None), reference.stateless_merge, first=False
    ),
    "merge the difference without state": case(
        StatelessMerge(4, BARE, MAPS, True),
        (H, SAME_B, None),
        lambda *args: reference.stateless_merge(*args, difference=True),
        first=False,
    ),
    "recurrent merge": case(GruMerge(4, TANH, MAPS), (H, B, S), reference.gru_merge, np.tanh, first=False),
}


QUICK = ("dense", "maps", "up", "residual maps", "stochastic up", "recurrent", "merge maps", "merge without state")
BY_DEFAULT = [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in CASES]


@pytest.mark.parametrize("name", BY_DEFAULT)
def test_module_is_its_formula(name, x64):
    module, inputs, formula = CASES[name]
    arguments = jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf, inputs(Mode()))
    params = random_like(jax.eval_shape(lambda: module.init(jax.random.key(0), *arguments))["params"])
    found = jax.jit(lambda params: module.apply({"params": params}, *arguments))(params)
    expected = formula(jax.tree.map(np.asarray, params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9), found, expected)

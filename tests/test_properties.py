"""Properties of the Python API for one tiny model of every family: order, chunks, empties, masks and types.

Sets have three or four places, so that all examples share a few compiled programs.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exflow.api import TrainedModel
from exflow.config import base_config
from exflow.models import registry
from exflow.typing import Batch
from tests.models.registry import TINY_MATNET, TINY_VECTORS, small_config

pytestmark = pytest.mark.usefixtures("toy_families")
SIZE = 4
CONFIGS = {
    "bruno": (lambda: small_config(model__bruno__scales=0), (4, 4, 1)),
    "matnet": (lambda: small_config(**TINY_MATNET), (8, 8, 1)),
    "set_vae": (lambda: small_config(**TINY_VECTORS), (1, 1, 2)),
    "toy_single": (lambda: base_config("toy_single"), (8, 8, 1)),
    "toy_codes": (lambda: base_config("toy_codes"), (8, 8, 1)),
}
OF_SETS = [name for name in CONFIGS if name != "toy_codes"]
COMPILE = ("matnet", "set_vae", "toy_single")  # for long: their bounds are programs of their own for every shape
QUICK = [pytest.param(name, marks=pytest.mark.slow) if name in COMPILE else name for name in OF_SETS]
seeds = st.integers(0, 2**32 - 1)
few = settings(derandomize=True, deadline=None, max_examples=10, database=None)


@functools.cache
def model_of(family):
    config, shape = CONFIGS[family][0](), CONFIGS[family][1]
    core = registry.build(config, shape)
    x = jnp.asarray(elements(core, 0, (2, SIZE)))
    batch = Batch(x, jnp.ones(x.shape[:2], bool), jnp.arange(2))
    return TrainedModel(core, jax.jit(core.init)(jax.random.key(0), batch), config)


def elements(core, seed, leading):
    rng, shape = np.random.default_rng(seed), core.image_shape
    if core.of_vectors:
        return rng.normal(size=(*leading, *shape)).astype(np.float32)
    return rng.integers(0, 256, (*leading, *shape), np.uint8)


def test_every_family_of_sets_is_here():
    own = {name for name, build in registry.FAMILIES.items() if build.__module__.startswith("exflow.")}
    assert own - set(CONFIGS) == {"lbae"}  # which has no densities of sets


@pytest.mark.parametrize("family", QUICK)
@few
@given(seed=seeds, order=st.permutations(range(SIZE)))
def test_order_does_not_matter(family, seed, order):
    model = model_of(family)
    x = elements(model.core, seed, (SIZE,))
    np.testing.assert_allclose(model.set_log_prob(x[np.array(order)]), model.set_log_prob(x), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("family", QUICK)
@few
@given(seed=seeds, cut=st.integers(0, SIZE))
def test_chunks_do_not_matter(family, seed, cut):
    model = model_of(family)
    x, new = elements(model.core, seed, (SIZE,)), elements(model.core, seed + 1, (2,))
    at_once = model.update(model.init_state(), x)
    in_parts = model.update(model.update(model.init_state(), x[:cut]), x[cut:])
    merged = model.merge(model.update(model.init_state(), x[cut:]), model.update(model.init_state(), x[:cut]))
    expected = model.log_prob(at_once, new)
    for state in (in_parts, merged):
        np.testing.assert_allclose(model.log_prob(state, new), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("family", QUICK)
@few
@given(seed=seeds, mask=st.lists(st.booleans(), min_size=SIZE, max_size=SIZE))
def test_holes_may_hold_anything(family, seed, mask):
    """NaN in vectors, other pixels in images; a mask without True is the empty set."""
    model, mask = model_of(family), np.array(mask)
    x = elements(model.core, seed, (SIZE,))
    holed = np.where(mask[:, None, None, None], x, np.nan if model.core.of_vectors else 255 - x).astype(x.dtype)
    np.testing.assert_allclose(
        model.set_log_prob(holed, mask), model.set_log_prob(x[mask]), rtol=1e-5, atol=1e-3 * mask.any()
    )
    for leave_one_out in (False, True):
        scores = model.anomaly_scores(holed, mask, leave_one_out=leave_one_out)
        expected = model.anomaly_scores(x[mask], leave_one_out=leave_one_out)
        np.testing.assert_allclose(scores[mask], expected, rtol=1e-5, atol=1e-3)
        assert not scores[~mask].any()


@pytest.mark.parametrize("family", QUICK)
def test_nothing_gives_nothing(family):
    model = model_of(family)
    x = elements(model.core, 0, (SIZE,))
    state = model.update(model.init_state(), x)
    assert model.set_log_prob(x[:0]) == 0.0
    assert model.set_log_prob(x[None, :0]).tolist() == [0.0]
    for scores in (model.log_prob(state, x[:0]), model.anomaly_scores(x[:0]), model.set_log_prob(x[None][:0])):
        assert scores.shape == (0,)
    assert model.anomaly_scores(x[:0], leave_one_out=True).shape == model.conditional_log_probs(x[:0]).shape == (0,)
    assert model.classify([x[:2], x[2:]], x[:0]).shape == (0, 2)
    for same in (model.update(state, x[:0]), model.remove(state, x[:0])):
        jax.tree.map(np.testing.assert_array_equal, same, state)
    assert jax.tree.leaves(model.core.encode(model.params, None, jnp.asarray(x[:0])))[0].shape[0] == 0
    nothing = jax.tree.map(jnp.asarray, model.encode(x[None, :0]))
    assert model.core.sets.joint(model.params, nothing).tolist() == [0.0]


@pytest.mark.parametrize("family", CONFIGS)
def test_no_image_has_no_element(family):
    model = model_of(family)
    x = elements(model.core, 0, (0,))
    shapes = [(0, *leaf.shape[1:]) for leaf in jax.tree.leaves(model.encode(elements(model.core, 0, (1,))))]
    assert [leaf.shape for leaf in jax.tree.leaves(model.encode(x))] == shapes


@pytest.mark.parametrize("family", OF_SETS)
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64"])
def test_types_are_taken_or_refused(family, dtype):
    """Vectors of any floating type are float32 vectors; pixels are uint8 and nothing else."""
    model = model_of(family)
    x = elements(model.core, 0, (SIZE,))
    if dtype in (("float32", "float64") if model.core.of_vectors else ("uint8",)):
        np.testing.assert_array_equal(model.set_log_prob(x.astype(dtype)), model.set_log_prob(x))
    else:
        with pytest.raises(TypeError, match=f"x_set: expected .*, got {dtype}"):
            model.set_log_prob(x.astype(dtype))

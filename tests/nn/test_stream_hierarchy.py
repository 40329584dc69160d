"""The levels of SCHA-VAE: initial priors, ways of running equal levels, and what enters which stream."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core import diagonal_gaussian
from exflow.nn.latent_trace import CONTEXT, ELEMENT, Noise, draw
from exflow.nn.stream_hierarchy import StreamHierarchy

WIDTH, LEVELS = 4, (1, 1, 2, 2, 2)
MASK = jnp.asarray([[True, True, False], [True, True, True], [False] * 3])
NOISE = Noise(jax.random.key(3), jnp.arange(9, dtype=jnp.uint32).reshape(3, 3), MASK)


def hierarchy(**options):
    return StreamHierarchy(width=WIDTH, levels=LEVELS, context_dim=3, latent_dim=2, **options)


def evidence(dtype=jnp.float32):
    rng = np.random.default_rng(0)
    return {size: jnp.asarray(rng.normal(size=(*MASK.shape, size, size, WIDTH)), dtype) for size in (1, 2)}


@functools.cache
def initial(module):
    with jax.enable_x64(False):
        return jax.jit(lambda key: module.init(key, NOISE, MASK, evidence()))(jax.random.key(0))["params"]


def noisy(module):
    """Float64 parameters without zeros."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf + rng.normal(0, 0.3, leaf.shape), jnp.float64), initial(module))


def run(module, params, noise=NOISE, seen=None, contexts=None):
    return jax.jit(module.apply)({"params": params}, noise, MASK, seen, contexts)


def values(trace):
    """Latents by stream, top first."""
    return [[half.value for half in (level.context, level.element)] for level in trace.levels]


def test_priors_are_standard_at_initialisation_and_levels_have_their_own_noise():
    module = hierarchy(level_loop="scan", aggregation="attention")
    trace = run(module, initial(module))
    assert len(trace.levels) == len(LEVELS)
    for index, (level, size) in enumerate(zip(trace.levels, LEVELS, strict=True)):
        shapes = (3, size, size, 3), (3, 3, size, size, 2)
        for stream, latent, shape in zip((CONTEXT, ELEMENT), level[:2], shapes, strict=True):
            assert latent.q is None
            chex.assert_trees_all_equal(latent.p, diagonal_gaussian.standard(shape))
            expected = draw(NOISE, diagonal_gaussian.standard(shape), index, stream)
            np.testing.assert_allclose(latent.value, expected, rtol=1e-6)


def test_initial_values_of_a_level_do_not_depend_on_the_number_of_levels_beside_it():
    params = initial(hierarchy())
    bound = 1 / np.sqrt(WIDTH * len(LEVELS))
    for run_of_levels in ("levels_1", "levels_2"):
        for name in ("element_to_context", "context_to_element"):
            kernel = np.asarray(params[run_of_levels][name]["kernel"])
            assert kernel.shape[1:] == (WIDTH, WIDTH)
            assert (np.abs(kernel).max(axis=(1, 2)) > 0.6 * bound).all()
            assert np.abs(kernel).max() <= bound
            assert len(np.unique(kernel)) == kernel.size  # every level draws its own
        last = params[run_of_levels]["context"]["prior"]["Linear_3"]
        assert not any(leaf.any() for leaf in jax.tree.leaves(last))


@pytest.mark.parametrize("everything", [False, True])
def test_loop_and_unrolled_loop_are_equal(x64, everything):
    options = {"aggregation": "attention", "latents_to_contexts": True, "residual_posteriors": True, "limit_level": 3}
    seen, found = evidence(jnp.float64), {}
    for loop in ("scan", "unroll"):
        module = hierarchy(level_loop=loop, **(options if everything else {}))

        def total(params, module=module):
            trace = module.apply({"params": params}, NOISE, MASK, seen)
            return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(trace)), trace

        start = initial(module)
        found[loop] = start, jax.jit(jax.value_and_grad(total, has_aux=True))(noisy(module))
    chex.assert_trees_all_equal(*(start for start, _ in found.values()))
    chex.assert_trees_all_close(*(result for _, result in found.values()), rtol=1e-9, atol=1e-11)


def test_latents_from_the_limit_on_enter_no_stream(x64):
    module, limit = hierarchy(limit_level=3), 3

    @jax.jit
    def gradient(params):
        def total(params):
            trace = module.apply({"params": params}, NOISE, MASK, evidence(jnp.float64))
            return jnp.sin(trace.elements).sum() + jnp.sin(trace.contexts).sum(), trace

        return jax.grad(total, has_aux=True)(params)

    grads, trace = gradient(noisy(module))
    assert all(half.q is not None for level in trace.levels for half in level[:2])  # all levels are inferred
    for half in ("context", "element"):
        kernels = [row for name in ("levels_1", "levels_2") for row in grads[name][half]["latent"]["kernel"]]
        size = [np.abs(kernel).max() for kernel in kernels]
        assert (np.asarray(size[:limit]) > 1e-6).all()
        np.testing.assert_array_equal(size[limit:], 0.0)


@pytest.mark.parametrize("number", [3, len(LEVELS)])
def test_given_contexts_take_the_place_of_inferred_ones(x64, number):
    """All of them, or the upper ones; here half of a run of levels."""
    module = hierarchy()
    params, seen = noisy(module), evidence(jnp.float64)
    inferred = run(module, params, seen=seen)
    contexts = inferred.context_values[:number]
    given = run(module, params, seen=seen, contexts=contexts)
    assert [level.context.p is None for level in given.levels] == [index < number for index in range(len(LEVELS))]
    chex.assert_trees_all_close(values(given), values(inferred), rtol=1e-10)
    chex.assert_trees_all_close(given[1:], inferred[1:], rtol=1e-10)
    generated = run(module, params, contexts=contexts)
    assert all(level.element.q is None for level in generated.levels)
    chex.assert_trees_all_close(generated.context_values[:number], contexts)


def test_a_set_without_elements_has_its_prior_for_posterior(x64):
    module = hierarchy(aggregation="attention")
    trace = run(module, noisy(module), seen=evidence(jnp.float64))
    for level in trace.levels:
        q, p = ([part[:, None] for part in dist] for dist in (level.context.q, level.context.p))
        np.testing.assert_array_equal(q[0][2], p[0][2])
        assert np.abs(q[0][:2] - p[0][:2]).max() > 1e-3
        np.testing.assert_allclose(level.attention.sum(axis=-1), MASK.any(axis=1)[:, None] * np.ones((1, 4)))


@pytest.mark.parametrize("edge", [False, True])
def test_element_latents_enter_the_priors_of_the_set_below_if_asked_to(x64, edge):
    module = hierarchy(latents_to_contexts=edge)
    params = noisy(module)
    before, after = {}, {}
    for found, scale in ((before, 1.0), (after, 2.0)):
        kernel = params["levels_1"]["element"]["latent"]["kernel"]
        changed = {**params["levels_1"]["element"], "latent": {"bias": jnp.zeros((2, WIDTH)), "kernel": scale * kernel}}
        levels = {**params["levels_1"], "element": changed}
        trace = run(module, {**params, "levels_1": levels})
        found.update(enumerate(level.context.p.mean[:2] for level in trace.levels))
    differs = [bool(np.abs(before[index] - after[index]).max() > 1e-6) for index in range(len(LEVELS))]
    assert differs == [False, *[edge] * (len(LEVELS) - 1)]

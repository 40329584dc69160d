"""The levels of SCHA-VAE: initial values, ways of running equal levels, and what enters which stream."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core.latents import diagonal_gaussian
from exflow.core.latents.trace import EXAMPLE, SET, Noise, draw
from exflow.models.set_vae.networks.stream_hierarchy import StreamHierarchy

pytestmark = pytest.mark.slow  # many compilations

WIDTH, SET_LATENT_DIM, LATENT_DIM = 4, 3, 2
MASK = jnp.asarray([[True, True, False], [True, True, True], [False] * 3])
NOISE = Noise(jax.random.key(3), jnp.arange(9, dtype=jnp.uint32).reshape(3, 3), MASK)
LOOPS = ("scan", "unroll")


def hierarchy(levels=(1, 1), level_loop="scan", **options):
    return StreamHierarchy(WIDTH, levels, SET_LATENT_DIM, LATENT_DIM, level_loop=level_loop, **options)


def features(dtype=jnp.float64):
    rng = np.random.default_rng(0)
    return {size: jnp.asarray(rng.normal(size=(*MASK.shape, size, size, WIDTH)), dtype) for size in (1, 2)}


def random_params(module):
    """Float64 parameters in the shapes of the module's, none of them zero."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), NOISE, MASK, features())["params"]
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.5, leaf.shape)), shapes)


@functools.cache
def compiled(module, num_levels=None):
    """Compiled function (params, features, set_latents) -> trace, every latent at the mean of its Gaussian."""
    return jax.jit(lambda params, *args: module.apply({"params": params}, Noise(None), MASK, *args, num_levels))


def with_latent_kernel(params, half, level, factor):
    """Parameters whose latent of one level joins its stream with another weight."""
    changed = jax.tree.map(lambda leaf: leaf, params)
    latent = changed["levels_1"][half]["latent"]
    latent["kernel"] = latent["kernel"].at[level].multiply(factor)
    return changed


def assert_noise_is_that_of_the_level(trace, **tolerance):
    for index, level in enumerate(trace.levels):
        for stream, latent in zip((SET, EXAMPLE), level[:2], strict=True):
            np.testing.assert_allclose(latent.value, draw(NOISE, latent.q, index, stream), **tolerance)


def test_initial_priors_are_standard_and_initial_kernels_those_of_single_levels():
    """Bounds from the fan-in of a level, no matter how many are stacked, and every level draws its own."""
    module = hierarchy()
    init = jax.jit(lambda key: module.init_with_output(key, NOISE, MASK, features(jnp.float32)))
    trace, variables = init(jax.random.key(0))
    for level in trace.levels:
        chex.assert_trees_all_equal(level.set_latent.p, diagonal_gaussian.standard((3, 1, 1, SET_LATENT_DIM)))
        chex.assert_trees_all_equal(level.example_latent.p, diagonal_gaussian.standard((3, 3, 1, 1, LATENT_DIM)))
    assert_noise_is_that_of_the_level(trace, rtol=1e-4, atol=1e-5)
    params, bound = variables["params"]["levels_1"], 1 / np.sqrt(WIDTH * 2)
    for name in ("element_to_context", "context_to_element"):
        kernel = np.asarray(params[name]["kernel"])
        assert kernel.shape == (2, WIDTH, WIDTH)
        assert np.abs(kernel).max() <= bound
        assert (np.abs(kernel).max(axis=(1, 2)) > 0.6 * bound).all()
        assert len(np.unique(kernel)) == kernel.size


def test_loop_and_unrolled_loop_have_equal_gradients(x64):
    options = {
        "aggregation": "attention",
        "examples_to_set_latents": True,
        "residual_posteriors": True,
    }
    found = {}
    for loop in LOOPS:
        module = hierarchy((1, 2, 2), loop, **options)

        def total(params, module=module):
            trace = module.apply({"params": params}, NOISE, MASK, features(), num_levels=2)
            return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(trace)), trace

        start = jax.jit(module.init)(jax.random.key(0), NOISE, MASK, features())
        found[loop] = start, jax.jit(jax.value_and_grad(total, has_aux=True))(random_params(module))
        assert_noise_is_that_of_the_level(found[loop][1][0][1], rtol=1e-9)
    chex.assert_trees_all_equal(*(start for start, _ in found.values()))
    chex.assert_trees_all_close(*(result for _, result in found.values()), rtol=1e-8, atol=1e-11)


def test_given_latents_of_the_set_take_the_place_of_inferred_ones(x64):
    """Here of the upper half of a run of levels; the two traces also come from different loops."""
    inferring, taking = (hierarchy(level_loop=loop, aggregation="attention") for loop in LOOPS)
    params = random_params(inferring)
    inferred = compiled(inferring, 1)(params, features(), None)
    trace = compiled(taking, 1)(params, features(), inferred.set_latents[:1])
    assert [level.set_latent.p is None for level in trace.levels] == [True, False]
    assert [level.attention is None for level in trace.levels] == [True, False]
    chex.assert_trees_all_close(trace.set_latents, inferred.set_latents, rtol=1e-9, atol=1e-12)
    for one, other in zip(trace.levels, inferred.levels, strict=True):
        chex.assert_trees_all_close(one.example_latent, other.example_latent, rtol=1e-9, atol=1e-12)
    chex.assert_trees_all_close(trace[1:], inferred[1:], rtol=1e-9, atol=1e-12)


def test_a_set_without_elements_has_its_prior_for_posterior(x64):
    module = hierarchy(aggregation="attention")
    for level in compiled(module, 1)(random_params(module), features(), None).levels:
        q, p = level.set_latent.q, level.set_latent.p
        np.testing.assert_array_equal(q.mean[2], p.mean[2])
        np.testing.assert_array_equal(q.log_variance[2], p.log_variance[2])
        assert (np.abs(q.mean - p.mean)[:2].max(axis=(1, 2, 3)) > 1e-3).all()
        np.testing.assert_allclose(
            level.attention.sum(axis=-1), np.asarray(MASK).any(axis=1)[:, None] * np.ones((1, 4))
        )


def test_latents_from_the_limit_on_enter_no_stream(x64):
    module = hierarchy(aggregation="attention")
    params, run = random_params(module), compiled(module, 1)
    before = run(params, features(), None)
    assert all(half.q is not None for level in before.levels for half in level[:2])  # they are inferred all the same
    for half in ("context", "element"):
        above, below = (run(with_latent_kernel(params, half, level, 2.0), features(), None) for level in (0, 1))
        chex.assert_trees_all_equal(below, before)
        assert np.abs(above.example_inputs - before.example_inputs).max() > 1e-3


@pytest.mark.parametrize("edge", [False, True])
def test_element_latents_enter_the_priors_of_the_set_below_if_asked_to(x64, edge):
    module = hierarchy(examples_to_set_latents=edge)
    params, run = random_params(module), compiled(module)
    traces = [run(with_latent_kernel(params, "element", 0, factor), None, None) for factor in (1.0, 2.0)]
    one, other = ([level.set_latent.p.mean[:2] for level in trace.levels] for trace in traces)
    assert [bool(np.abs(a - b).max() > 1e-6) for a, b in zip(one, other, strict=True)] == [False, edge]


def test_residual_posteriors_are_offsets_from_the_prior(x64):
    params, traces = None, []
    for residual in (False, True):
        module = hierarchy((1,), residual_posteriors=residual)
        params = random_params(module) if params is None else params
        traces.append(compiled(module)(params, features(), None).levels[0].set_latent)
    absolute, offset = traces
    chex.assert_trees_all_equal(absolute.p, offset.p)
    for q, r, p in zip(absolute.q, offset.q, absolute.p, strict=True):
        np.testing.assert_allclose(r[:2], q[:2] + p[:2], rtol=1e-12)

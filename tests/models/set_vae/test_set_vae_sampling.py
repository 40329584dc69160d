"""Samples of set VAEs: any number of them, given latents, and refinement by feeding them back."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core.latents.elements import SeenElements
from exflow.core.latents.trace import EXAMPLE, SET
from exflow.models.registry import build
from exflow.models.set_vae import sampling
from tests.models.parameters import shaken
from tests.models.registry import ALL_LEVELS, MODELS, TINY_STREAM, TINY_VECTORS, is_set_vae, small_config
from tests.models.test_set_models import batch_of, images, prepared

pytestmark = pytest.mark.slow  # many compilations

SLOW = pytest.mark.slow  # many compilations of convolutions
TWO_PER_RESOLUTION = {
    "model__set_vae__encoder_blocks": "8-1,4-1,1-1",
    "model__set_vae__levels": "4-2,1-2",
    "model__block_loop": "scan",
    "model__set_vae__aggregation": "attention",
}
OTHERS = {
    "vectors_all": small_config(**TINY_VECTORS, **ALL_LEVELS, model__set_vae__prior_aggregation="max"),
    "stream_runs": small_config(**TINY_STREAM | TWO_PER_RESOLUTION),
}


@functools.cache
def tiny(name):
    """Latent functions and parameters of a model of the registry, or of two with latents of the set at many levels."""
    if name in MODELS:
        model, params = prepared(name)
        return model.latents, params
    shape = (1, 1, 2) if name == "vectors_all" else (28, 28, 1)
    model = build(OTHERS[name], shape)
    params = jax.jit(model.init)(jax.random.key(0), batch_of(images(4, 5, shape=shape)))
    return model.latents, shaken(params, 1)


@functools.cache
def some_sets(name, batch=2, size=3):
    """Elements of sets, the last one of which does not exist in the second set, and their mask."""
    latents, params = tiny(name)
    shape = (1, 1, 2) if latents.likelihood.name == "gaussian" else (28, 28, 1)
    values = latents.likelihood.to_values(jax.random.key(5), images(batch, size, seed=3, shape=shape))
    mask = jnp.arange(size)[None] < jnp.asarray([[size], [size - 1]])
    return jax.jit(latents.encode_values)(params, values), mask


def compiled(function, *static):
    return jax.jit(function, static_argnums=(0, *static))


HIERARCHIES = ("vectors_all", pytest.param("stream_runs", marks=SLOW))
OF_REGISTRY = [pytest.param(name, marks=SLOW) for name in MODELS if is_set_vae(name)]
INFER = jax.jit(
    lambda latents, *args, **named: latents.infer(*args, **named), static_argnums=0, static_argnames="means"
)
GENERATE = jax.jit(
    lambda latents, params, key, shape, given=None, means=(): latents.generate(params, key, shape, given, means),
    static_argnums=(0, 3),
    static_argnames="means",
)
CONDITIONAL = compiled(sampling.sample_conditional, 5, 6, 7, 8)
PRIOR = compiled(sampling.sample_prior, 3, 4)


@pytest.mark.parametrize("name", [*HIERARCHIES, *OF_REGISTRY])
def test_any_number_of_samples_as_a_function_of_the_key(name):
    latents, params = tiny(name)
    elements, mask = some_sets(name)
    key = jax.random.key(1)
    five = CONDITIONAL(latents, params, key, elements, mask, 5)
    assert five.shape[:2] == (2, 5)
    np.testing.assert_array_equal(five, CONDITIONAL(latents, params, key, elements, mask, 5))
    assert not np.allclose(five, CONDITIONAL(latents, params, jax.random.key(2), elements, mask, 5))
    values = sampling.values(latents.likelihood, five)
    assert values.shape == (2, 5, *elements.values.shape[2:])
    hidden = jax.tree.map(lambda leaf: leaf.at[1, 2].set(7), elements)
    np.testing.assert_allclose(five, CONDITIONAL(latents, params, key, hidden, mask, 5), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", HIERARCHIES)
def test_given_upper_latents_of_the_set_continue_as_drawn(name):
    latents, params = tiny(name)
    elements, mask = some_sets(name)
    drawn, outputs = GENERATE(latents, params, jax.random.key(1), (2, 4))
    inferred, rebuilt = INFER(latents, params, elements, mask, jax.random.key(2))
    for number in range(1, len(drawn.set_latents), 2):  # in the middle of levels of one resolution
        given = drawn.set_latents[:number]
        again, same = GENERATE(latents, params, jax.random.key(1), (2, 4), given)
        np.testing.assert_allclose(same, outputs, rtol=1e-5, atol=1e-5)
        assert [level.set_latent.p is None for level in again.levels] == [
            at < number for at in range(len(again.levels))
        ]
        other, _ = GENERATE(latents, params, jax.random.key(1), (2, 4), jax.tree.map(lambda c: c + 1, given))
        np.testing.assert_array_equal(other.set_latents[number - 1], given[-1] + 1)
        again, same = INFER(latents, params, elements, mask, jax.random.key(2), inferred.set_latents[:number])
        np.testing.assert_allclose(same, rebuilt, rtol=1e-5, atol=1e-5)
        assert again.levels[number].set_latent.q is not None


@pytest.mark.parametrize("name", HIERARCHIES)
def test_latents_at_means_of_one_kind_only(name):
    latents, params = tiny(name)
    for stream in (SET, EXAMPLE):
        drawn, _ = GENERATE(latents, params, jax.random.key(1), (2, 4), means=(stream,))
        for level in drawn.levels:
            at_mean = [np.allclose(latent.value, latent.p.mean) for latent in (level.set_latent, level.example_latent)]
            assert at_mean == [stream == SET, stream == EXAMPLE]


def test_the_top_latent_of_the_set_may_be_all_that_is_inferred():
    latents, params = tiny("vectors_all")
    elements, mask = some_sets("vectors_all")
    key = jax.random.key(1)
    given = compiled(sampling.infer_set_latents, 5)(latents, params, jax.random.split(key)[0], elements, mask, True)
    _, expected = GENERATE(latents, params, jax.random.split(key)[1], (2, 3), given[:1], means=(SET,))
    found = CONDITIONAL(latents, params, key, elements, mask, 3, "top", True, True)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    top = jax.jit(latents.set_posteriors)(params, SeenElements(elements, mask))[0].mean
    np.testing.assert_allclose(given[0], top, rtol=1e-5, atol=1e-5)


def test_without_elements_conditional_samples_follow_the_prior():
    latents, params = tiny("vectors_all")
    elements, mask = some_sets("vectors_all")
    nothing = jnp.zeros_like(mask)
    draws = jax.vmap(lambda key: sampling.sample_conditional(latents, params, key, elements, nothing, 2, "top"))
    given_nothing = np.asarray(jax.jit(draws)(jax.random.split(jax.random.key(1), 500)), np.float64)
    draws = jax.vmap(lambda key: sampling.sample_prior(latents, params, key, (2, 2)))
    invented = np.asarray(jax.jit(draws)(jax.random.split(jax.random.key(2), 500)), np.float64)
    for moment in (1, 2):
        a, b = ((x**moment).mean(axis=(1, 2)) for x in (given_nothing, invented))
        error = np.sqrt(a.var(axis=0) / len(a) + b.var(axis=0) / len(b))
        assert (np.abs(a.mean(axis=0) - b.mean(axis=0)) < 5 * error).all()


def test_reconstructions_follow_their_elements():
    latents, params = tiny("vectors_all")
    elements, mask = some_sets("vectors_all")
    reconstruct = compiled(sampling.reconstruct, 5)
    order = np.array([1, 0, 2])
    moved = jax.tree.map(lambda leaf: leaf[:, order], elements)
    found = reconstruct(latents, params, jax.random.key(1), elements, mask)
    again = reconstruct(latents, params, jax.random.key(1), moved, mask[:, order])
    np.testing.assert_allclose(again, found[:, order], rtol=1e-4, atol=1e-5)
    below = PRIOR(latents, params, jax.random.key(1), (2, 6), True)
    assert below.shape == (2, 6, *found.shape[2:])


def test_lower_levels_can_be_switched_off():
    latents, params = tiny("vectors_all")
    generate = jax.jit(latents.generate, static_argnums=(2, 4, 5))
    trace, outputs = GENERATE(latents, params, jax.random.key(1), (2, 4))
    _, full = generate(params, jax.random.key(1), (2, 4), None, (), 2)
    np.testing.assert_allclose(full, outputs, rtol=1e-5, atol=1e-5)
    _, upper = generate(params, jax.random.key(1), (2, 4), None, (), 1)
    z, c = trace.levels[0].example_latent.value, trace.levels[0].set_latent.value
    by_hand = trace._replace(
        example_inputs=jnp.concatenate([z, jnp.zeros_like(z)], axis=-1),
        set_inputs=jnp.concatenate([c, 0 * c], axis=-1),
    )
    expected = latents.decode(params, by_hand, jnp.ones((2, 4), bool))
    np.testing.assert_allclose(upper, expected, rtol=1e-5, atol=1e-5)
    assert not np.allclose(upper, outputs)


@pytest.mark.parametrize("mode", ["fixed", "union_posterior", "union_prior"])
@pytest.mark.parametrize("name", HIERARCHIES)
def test_refinement_starts_with_what_is_given_and_sees_what_it_says(name, mode):
    latents, params = tiny(name)
    elements, mask = some_sets(name)
    start = 0.5 * elements.values[:, :2]
    refine = functools.partial(sampling.refine, latents, params, jax.random.key(1), mode=mode, at_mean=True)
    found = refine(elements, mask, start, 2)
    assert found.frames.shape == (3, *start.shape)
    np.testing.assert_array_equal(found.frames[0], start)
    samples = jax.jit(latents.encode_values)(params, start)
    union = jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), elements, samples)
    seen = SeenElements(union, jnp.concatenate([mask, jnp.ones((2, 2), bool)], axis=1))
    state = SeenElements(elements, mask) if mode == "fixed" else seen
    top = jax.jit(latents.set_posteriors)(params, state)[0].mean
    np.testing.assert_allclose(found.set_latents[0][0], top, rtol=1e-4, atol=1e-5)
    for latent in found.set_latents:
        assert (mode == "fixed") == np.array_equal(latent[0], latent[1])
    hidden = jax.tree.map(lambda leaf: leaf.at[1, 2].set(7), elements)
    np.testing.assert_allclose(refine(hidden, mask, start, 2).frames, found.frames, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", [0, 3])
def test_refinement_is_the_same_in_one_program_and_in_several(steps):
    latents, params = tiny("vectors_all")
    elements, mask = some_sets("vectors_all")
    refine = functools.partial(sampling.refine, latents, params, jax.random.key(1), elements, mask)
    options = {"mode": "union_prior", "draws": True, "at_mean": True}  # noise that follows the bits of frames apart
    one, other = (refine(elements.values[:, :2], steps, **options, loop=loop) for loop in ("scan", "unroll"))
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_refinement_feeds_back_means_or_draws():
    latents, params = tiny("scha_vae_lag")
    elements, mask = some_sets("scha_vae_lag")
    start = elements.values[:, :1]
    means, draws = (
        sampling.refine(latents, params, jax.random.key(1), elements, mask, start, 1, draws=draws).frames[1]
        for draws in (False, True)
    )
    assert ((means > 0) & (means < 1)).all()
    assert set(np.unique(draws)) == {0, 1}


def test_an_unknown_mode_is_refused():
    latents, params = tiny("vectors_all")
    elements, mask = some_sets("vectors_all")
    with pytest.raises(Exception, match="mode"):  # of the annotation, or where it is not checked a ValueError
        sampling.refine(latents, params, jax.random.key(1), elements, mask, elements.values, 1, "both")

"""Properties that every set model must have, driven by the registry of small models."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.model import sets_of
from exflow.models.registry import build
from exflow.typing import Batch
from tests.models.parameters import in_float64, random_params, shaken
from tests.models.registry import EXACT, IMAGE_SHAPE, MODELS, NAMES, SLOW, compiled, image_shape


def images(*leading, seed=0, shape=IMAGE_SHAPE):
    """Random pixels, or standard normal entries of vectors."""
    rng = np.random.default_rng(seed)
    if shape[:2] == (1, 1):
        return jnp.asarray(rng.normal(size=(*leading, *shape)), jnp.float32)
    return jnp.asarray(rng.integers(0, 256, (*leading, *shape)), jnp.uint8)


def contexts(*leading, seed=0):
    """Contexts of images, which unconditional models ignore: (sin, cos) of random angles, float32 [*leading, 2]."""
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, leading)
    return jnp.asarray(np.stack([np.sin(angle), np.cos(angle)], axis=-1), jnp.float32)


def batch_of(x_set):
    return Batch(x_set, jnp.ones(x_set.shape[:2], bool), jnp.arange(x_set.shape[0]), contexts(*x_set.shape[:2]))


@functools.cache
def prepared(name):
    """A model whose functions are compiled, and random float32 parameters; shared by all tests."""
    model = build(MODELS[name], image_shape(name))
    with jax.enable_x64(False):
        if name in SLOW:
            params = jax.jit(model.init)(jax.random.key(0), batch_of(images(4, 5, shape=model.image_shape)))
            params = shaken(params, 1)
        else:
            params = random_params(model, MODELS[name])
    return compiled(model), params


@pytest.fixture(params=NAMES)
def model_and_params(request):
    return prepared(request.param)


@pytest.fixture
def exact(x64, model_and_params):
    """Model, float64 parameters and the elements of three sets of five images."""
    model, params = model_and_params
    params = in_float64(params)
    return model, params, encoded(model, params, None, images(3, 5, seed=2, shape=model.image_shape))


def encoded(model, params, key, x):
    return model.encode(params, key, x, *((contexts(*x.shape[:-3]),) if model.context_dim else ()))


def take(elements, index):
    return jax.tree.map(lambda leaf: leaf[:, index], elements)


def test_joint_is_permutation_invariant(exact):
    model, params, elements = exact
    joint = sets_of(model).conditional(params, elements).sum(-1)
    permuted = sets_of(model).conditional(params, take(elements, np.array([3, 0, 4, 2, 1]))).sum(-1)
    np.testing.assert_allclose(permuted, joint, rtol=1e-10)


def test_streaming_update_gives_the_conditionals(exact):
    model, params, elements = exact
    conditionals = sets_of(model).conditional(params, elements)
    state = sets_of(model).init_state(params, (3,))
    for index in range(5):
        np.testing.assert_allclose(
            sets_of(model).log_prob(params, state, take(elements, index)), conditionals[:, index], rtol=1e-10
        )
        state = sets_of(model).update(params, state, take(elements, slice(index, index + 1)))


def test_masked_elements_count_for_nothing(exact):
    model, params, elements = exact
    mask = jnp.asarray([[True, False, True, True, False]] * 3)
    kept = sets_of(model).conditional(params, take(elements, np.array([0, 2, 3])))
    masked = sets_of(model).conditional(params, elements, mask)
    np.testing.assert_allclose(masked[:, np.array([0, 2, 3])], kept, rtol=1e-10)
    np.testing.assert_array_equal(masked[:, np.array([1, 4])], 0.0)
    state = sets_of(model).init_state(params, (3,))
    query = take(elements, 4)
    np.testing.assert_allclose(
        sets_of(model).log_prob(params, sets_of(model).update(params, state, elements, mask), query),
        sets_of(model).log_prob(
            params, sets_of(model).update(params, state, take(elements, np.array([0, 2, 3]))), query
        ),
        rtol=1e-10,
    )


def test_leave_one_out_is_the_last_conditional_after_all_others(exact):
    model, params, elements = exact
    leave_one_out = sets_of(model).leave_one_out(params, elements)
    for index in range(5):
        order = np.array([other for other in range(5) if other != index] + [index])
        last = sets_of(model).conditional(params, take(elements, order))[:, -1]
        np.testing.assert_allclose(leave_one_out[:, index], last, rtol=1e-9)


def test_class_log_probs_are_the_predictive_of_every_class(exact):
    model, params, elements = exact
    states = sets_of(model).update(params, sets_of(model).init_state(params, (3,)), take(elements, slice(0, 3)))
    queries = jax.tree.map(lambda leaf: leaf.reshape(6, *leaf.shape[2:]), take(elements, slice(3, 5)))
    matrix = sets_of(model).class_log_probs(params, states, queries)
    for query in range(6):
        for label in range(3):
            expected = sets_of(model).log_prob(
                params,
                jax.tree.map(lambda leaf, at=label: leaf[at], states),
                jax.tree.map(lambda leaf, at=query: leaf[at], queries),
            )
            np.testing.assert_allclose(matrix[query, label], expected, rtol=1e-9)


def test_empty_support_is_the_prior(exact):
    model, params, elements = exact
    state = sets_of(model).init_state(params, (3,))
    same = sets_of(model).update(params, state, elements, jnp.zeros((3, 5), bool))
    query = take(elements, 0)
    np.testing.assert_allclose(
        sets_of(model).log_prob(params, same, query), sets_of(model).conditional(params, elements)[:, 0], rtol=1e-10
    )


@pytest.mark.parametrize("coherent", [False, True])
def test_samples_are_images(model_and_params, coherent):
    model, params = model_and_params
    elements = encoded(model, params, jax.random.key(3), images(2, 5, shape=model.image_shape))
    state = sets_of(model).update(params, sets_of(model).init_state(params, (2,)), elements)
    samples = sets_of(model).sample(params, state, jax.random.key(4), 3, coherent, contexts(3, 2))
    assert samples.shape == (3, 2, *model.image_shape)
    assert samples.dtype == jnp.dtype(model.value_dtype)
    assert len(np.unique(samples)) > 2


@pytest.mark.parametrize("model_and_params", EXACT, indirect=True)
def test_loss_of_exact_models_is_the_mean_conditional(model_and_params):
    model, params = model_and_params
    batch = batch_of(images(4, 5))._replace(mask=jnp.asarray([[True] * 4 + [False]] * 4))
    loss, metrics, _ = model.loss(params, jax.random.key(5), batch)
    elements = model.encode(params, jax.random.split(jax.random.key(5))[0], batch.x_set, batch.context)
    expected = -sets_of(model).conditional(params, elements, batch.mask).sum() / 16
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["bits_per_dim"], expected / (64 * np.log(2)), rtol=1e-5)

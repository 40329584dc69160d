"""The Python API by capability: what a model can do it does, what it cannot is one line that says so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.api import TrainedModel
from exflow.errors import UserError
from exflow.model import CodeFunctions, FittedCodes, Model, Sampler, latents_of
from exflow.models.registry import build
from tests.evaluation.toy import toy_model, toy_params
from tests.evaluation.toy_data import image_sets
from tests.models.parameters import random_params
from tests.models.registry import MODELS

PARAMS = toy_params(4, variance=0.7, covariance=0.6, mean=0.1)
IMAGES = image_sets([6, 6, 6]).images.reshape(3, 6, 2, 2, 1)
VECTORS = np.random.default_rng(0).normal(size=(2, 5, 1, 1, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def exact():
    return TrainedModel(toy_model(), PARAMS)


@pytest.fixture(scope="module")
def bound():
    """A model of vectors with latents, the tiny Neural Statistician, at random parameters."""
    core = build(MODELS["ns"], (1, 1, 2))
    return TrainedModel(core, random_params(core, MODELS["ns"]), MODELS["ns"])


@pytest.fixture(scope="module")
def coder():
    """Only codes and a sampler: the code is whether each pixel is bright, the fit the share of bright pixels."""

    def decode(params, bits):
        return jnp.where(bits, params["bright"], 0).astype(jnp.uint8).reshape(*bits.shape[:-1], 2, 2, 1)

    def encode(params, x):
        return (x >= 128).reshape(*x.shape[:-3], 4)

    def draw(fitted, key, num, method):
        return np.asarray(jax.random.bernoulli(key, jnp.broadcast_to(fitted["bright"], (num, 4))))

    core = Model(
        name="coder",
        image_shape=(2, 2, 1),
        init=lambda key, batch: {"bright": jnp.uint8(255)},
        loss=lambda params, key, batch: pytest.fail("not trained here"),
        encode=lambda params, key, x, context=None: encode(params, x),
        codes=CodeFunctions(4, encode, decode),
        sampler=Sampler(("bright",), lambda codes, method: {"bright": codes.mean(axis=0)}, draw),
    )
    return TrainedModel(
        core,
        {"bright": jnp.uint8(200)},
        fitted=FittedCodes(lambda method: {"bright": np.array([0.0, 1.0, 1.0, 0.5])}, None),
    )


def test_states_forget_and_merge(exact):
    x, other = IMAGES[0], IMAGES[1, :2]
    three = exact.update(exact.init_state(), x[:3])
    five = exact.update(three, x[3:5])
    for state in (exact.remove(five, x[3:5]), exact.remove(exact.remove(five, x[4]), x[3]), exact.remove(three, x[:0])):
        np.testing.assert_allclose(exact.log_prob(state, other), exact.log_prob(three, other), rtol=1e-5)
    two = exact.update(exact.init_state(), x[3:5])
    np.testing.assert_allclose(exact.log_prob(exact.merge(three, two), other), exact.log_prob(five, other), rtol=1e-5)
    noisy = exact.update(three, x[3:5], key=1)
    np.testing.assert_allclose(exact.remove(noisy, x[3:5], key=1).content.total, three.content.total, atol=1e-5)
    assert np.abs(exact.remove(noisy, x[3:5]).content.total - three.content.total).max() > 1e-3


def test_growing_states_forget_and_merge(bound):
    x, new = VECTORS[0], VECTORS[1, :2]
    three = bound.update(bound.init_state(), x[:3])
    five = bound.merge(three, bound.update(bound.init_state(), x[3:]))
    assert five.content.mask.sum() == 5
    forgotten = bound.remove(five, x[3:])
    assert forgotten.content.mask.shape == (4,)  # and compact again
    np.testing.assert_allclose(bound.log_prob(forgotten, new), bound.log_prob(three, new), rtol=1e-5)


def test_a_seed_is_a_key(exact):
    state, x = exact.update(exact.init_state(), IMAGES[0]), IMAGES[1]
    for seed in (3, np.int64(3)):
        np.testing.assert_array_equal(exact.sample(state, seed, 2), exact.sample(state, jax.random.key(3), 2))
        np.testing.assert_array_equal(exact.log_prob(state, x, seed), exact.log_prob(state, x, jax.random.key(3)))
    np.testing.assert_array_equal(exact.sample(None, 3, 2), exact.sample(exact.init_state(), 3, 2))


def test_draws_of_the_noise_in_every_density(exact):
    """Exact densities are averaged over draws of the noise, scores of anomalies are the mean of theirs."""
    key, state = jax.random.key(0), exact.update(exact.init_state(), IMAGES[0])
    keys = [jax.random.fold_in(key, draw) for draw in range(3)]
    for call in (
        lambda **options: exact.log_prob(state, IMAGES[1], **options),
        lambda **options: exact.set_log_prob(IMAGES, **options),
        lambda **options: exact.conditional_log_probs(IMAGES[0], **options),
    ):
        draws = np.stack([call(key=k) for k in keys]).astype(np.float64)
        expected = np.logaddexp.reduce(draws, axis=0) - np.log(3)
        np.testing.assert_allclose(call(key=key, num_importance_samples=3), expected, rtol=1e-5)
    scores = np.stack([exact.anomaly_scores(IMAGES, key=k) for k in keys])
    np.testing.assert_allclose(
        exact.anomaly_scores(IMAGES, key=key, num_importance_samples=3), scores.mean(axis=0), atol=1e-5
    )
    log_posterior = exact.classify(IMAGES[:, :2], IMAGES[:, 3], key=key, num_importance_samples=3)
    np.testing.assert_allclose(np.exp(log_posterior).sum(axis=1), 1.0, rtol=1e-6)
    with pytest.raises(ValueError, match="num_importance_samples: expected 1, or more with a key, got 2"):
        exact.set_log_prob(IMAGES, num_importance_samples=2)


def test_draws_of_the_latents_in_every_density(exact):
    """None means the number of the configuration; here bounds are densities times that number, which so shows."""

    def times_draws(function):
        return lambda *arguments: arguments[-1] * function(*arguments)

    names = ("log_prob", "joint", "conditional", "leave_one_out", "class_log_probs")
    bounds = {name: times_draws(getattr(exact.core.sets, name)) for name in names}
    config = MODELS["ns"].copy_and_resolve_references()
    with config.unlocked():
        config.evaluation.importance_samples = 3
    bound = TrainedModel(exact.core._replace(sets=exact.core.sets._replace(exact=False, **bounds)), PARAMS, config)
    state, support = exact.update(exact.init_state(), IMAGES[0, :3]), IMAGES[:, :3]
    scores = np.stack([exact.log_prob(exact.update(exact.init_state(), x), IMAGES[:, 3]) for x in support], axis=1)
    for number, draws in ((None, 3), (3, 3), (5, 5), (1, 1)):
        for call in (
            lambda model, **options: model.set_log_prob(IMAGES, **options),
            lambda model, **options: model.conditional_log_probs(IMAGES, **options),
            lambda model, **options: model.log_prob(state, IMAGES[0, 3], **options),
            lambda model, **options: model.anomaly_scores(IMAGES, **options),
            lambda model, **options: model.anomaly_scores(IMAGES, leave_one_out=True, **options),
        ):
            np.testing.assert_allclose(call(bound, num_importance_samples=number), draws * call(exact), rtol=1e-4)
        posterior = draws * scores - np.logaddexp.reduce(draws * scores, axis=1, keepdims=True)
        found = bound.classify(support, IMAGES[:, 3], num_importance_samples=number)
        np.testing.assert_allclose(found, posterior, rtol=1e-4, atol=1e-4)


def test_reconstructions(bound, coder):
    latents = latents_of(bound.core)
    infer = jax.jit(lambda elements: latents.infer(bound.params, elements, jnp.ones((2, 5), bool), None)[1])
    outputs = infer(bound.encode(VECTORS))
    found = bound.reconstruct(VECTORS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, latents.likelihood.mean(outputs), rtol=1e-4, atol=1e-5)
    mask = np.array([True, True, False, True, False])
    np.testing.assert_allclose(
        bound.reconstruct(VECTORS[0], mask)[mask], bound.reconstruct(VECTORS[0][mask]), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(coder.reconstruct(IMAGES), np.where(IMAGES >= 128, 200, 0))
    np.testing.assert_array_equal(coder.reconstruct(IMAGES[0, 0]), np.where(IMAGES[0, 0] >= 128, 200, 0))
    assert coder.reconstruct(IMAGES[:0]).shape == (0, 6, 2, 2, 1)


def test_samples_of_what_was_fitted(coder):
    samples = coder.sample(None, 0, 100)
    assert samples.shape == (100, 2, 2, 1)
    np.testing.assert_array_equal(samples[:, 0, :, 0], np.tile([0, 200], (100, 1)))
    assert 0.3 < (samples[:, 1, 1, 0] > 0).mean() < 0.7  # 4 standard errors
    assert coder.encode(IMAGES).shape == (3, 6, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.init_state(), "coder: has no densities of sets"),
        (lambda m: m.update({}, IMAGES[0]), "coder: has no densities of sets"),
        (lambda m: m.remove({}, IMAGES[0, 0]), "coder: has no densities of sets"),
        (lambda m: m.merge({}, {}), "coder: has no densities of sets"),
        (lambda m: m.log_prob({}, IMAGES[0]), "coder: has no densities of sets"),
        (lambda m: m.sample({}, 0, 1), "coder: has no densities of sets"),
        (lambda m: m.classify(IMAGES, IMAGES[0]), "coder: has no densities of sets"),
        (lambda m: m.conditional_log_probs(IMAGES), "coder: has no densities of sets"),
        (lambda m: m.set_log_prob(IMAGES), "coder: has no densities of sets"),
        (lambda m: m.anomaly_scores(IMAGES), "coder: has no densities of sets"),
        (lambda m: TrainedModel(m.core, m.params).sample(None, 0, 1), "coder: its sampler has not been fitted"),
    ],
)
def test_what_a_model_cannot_do_is_said(coder, call, message):
    with pytest.raises(UserError, match=f"{message}.*Choose a model that has|{message}.*Use --mode=evaluate"):
        call(coder)


def test_what_a_flow_cannot_do_is_said(exact, bound):
    with pytest.raises(UserError, match="toy: has neither latent variables nor codes. Choose a model that has"):
        exact.reconstruct(IMAGES)
    with pytest.raises(UserError, match="preprocess: this model takes vectors of numbers, not pictures"):
        bound.preprocess(IMAGES[0, 0])

"""BRUNO itself: published parameter counts, starting point, exact likelihood and its objectives."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.model import sets_of
from exflow.models.bruno.flow import bruno_flow
from exflow.models.bruno.model import bruno
from exflow.typing import Batch
from tests.models.parameters import in_float64, random_like, random_params, shaken
from tests.models.registry import IMAGE_SHAPE, compiled, small_config
from tests.models.test_set_models import batch_of, images


@pytest.mark.slow  # heads that start at zero, and the order of a squeeze, have shorter tests of their own
def test_flow_starts_as_the_identity_in_the_documented_order(x64):
    flow = bruno_flow(small_config().model, IMAGE_SHAPE)
    x = jax.random.uniform(jax.random.key(0), (2, *IMAGE_SHAPE), jnp.float64, 0.0, 256.0)
    z, _ = jax.jit(lambda x: flow.forward(flow.init(jax.random.key(1), x), x))(x)
    y = 1e-5 / 2 + (1 - 1e-5) * np.asarray(x) / 256
    y = (np.log(y) - np.log1p(-y)).reshape(2, 8, 8)
    channels = [y[:, dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)]  # channel 2 dy + dx of the squeezed image
    np.testing.assert_allclose(z, np.stack(channels, axis=-1).reshape(2, 64), rtol=1e-10, atol=1e-10)


EVERYTHING = {"model__bruno__scales": 3, "model__bruno__residual_blocks": 1, "model__bruno__bounded_features": True}


@pytest.mark.parametrize("options", [{}, pytest.param(EVERYTHING, marks=pytest.mark.slow)], ids=str)
def test_log_det_equals_the_automatic_jacobian(x64, options):
    flow = bruno_flow(small_config(**options).model, (4, 4, 1))
    many = jax.random.uniform(jax.random.key(0), (64, 4, 4, 1), jnp.float64, 1.0, 255.0)
    params, x = random_like(jax.eval_shape(flow.init, jax.random.key(1), many)), many[:2]

    @jax.jit
    def both(x):
        jacobian = jax.vmap(jax.jacfwd(lambda one: flow.forward(params, one[None])[0][0]))(x)
        return *flow.forward(params, x), jacobian.reshape(2, 16, 16)

    z, log_det, jacobian = both(x)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], rtol=1e-9)
    restored, inverse_log_det = jax.jit(flow.inverse)(params, z)
    np.testing.assert_allclose(restored, x, atol=1e-9)
    np.testing.assert_allclose(inverse_log_det, -log_det, rtol=1e-9)


@pytest.mark.parametrize("conditioning", ["none", pytest.param("original", marks=pytest.mark.slow)])
def test_folded_parameters_say_the_same(x64, conditioning):
    scales = 0 if conditioning == "none" else 1  # of which one has convolutions, too
    config = small_config(
        model__bruno__residual_blocks=1, model__bruno__conditioning=conditioning, model__bruno__scales=scales
    )
    model = bruno(config, IMAGE_SHAPE)
    params = in_float64(random_params(model, config))
    known = () if conditioning == "none" else (np.random.default_rng(0).normal(size=(3, 2)),)
    x, encode = images(1, 3)[0], jax.jit(model.encode)
    assert all(
        "direction" not in jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(model.folded(params))
    )
    found, expected = (encode(each, None, x, *known) for each in (model.folded(params), params))
    np.testing.assert_allclose(found.z, expected.z, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.log_det, expected.log_det, rtol=1e-9)
    np.testing.assert_array_equal(model.folded(params)["process"]["mean"], params["process"]["mean"])


@pytest.mark.slow
def test_gradients_are_finite_and_reach_every_parameter():
    model = bruno(small_config(model__bruno__residual_blocks=1), IMAGE_SHAPE)
    batch = batch_of(images(4, 5))
    params = shaken(jax.jit(model.init)(jax.random.key(0), batch), 1)
    gradients = jax.jit(jax.grad(lambda params: model.loss(params, jax.random.key(0), batch)[0]))(params)
    for path, gradient in jax.tree.leaves_with_path(gradients):
        name = jax.tree_util.keystr(path)
        assert np.isfinite(gradient).all(), name
        one_input = "direction" in name and np.prod(gradient.shape[:-1]) == 1  # of unit norm: only its sign matters
        if "mean" not in name and not one_input:  # the published mean is constant
            assert np.any(gradient != 0), name


def dense_model(**overrides):
    """Dense-only BRUNO with compiled functions, which is all these tests need."""
    model = bruno(small_config(model__bruno__scales=0, **overrides), IMAGE_SHAPE)
    return compiled(model)._replace(init=jax.jit(model.init))


@pytest.mark.parametrize("process", ["gaussian", pytest.param("student_t", marks=pytest.mark.slow)])
def test_empirical_start_is_the_closed_form_optimum(process):
    model = dense_model(
        model__bruno__process=process, model__bruno__process_init="empirical", model__bruno__learn_mean=True
    )
    generator = np.random.default_rng(0)
    base = generator.integers(40, 200, (64, 1, *IMAGE_SHAPE))
    batch = batch_of(jnp.asarray(base + generator.integers(-30, 30, (64, 5, *IMAGE_SHAPE)), jnp.uint8))
    default = model.init(jax.random.key(0), batch)
    fit = jax.jit(model.process.refit.fit)
    params = fit(default, model.encode(default, jax.random.key(2), batch.x_set), batch.mask)
    key = jax.random.key(1)

    @jax.jit
    @jax.value_and_grad
    def process_loss(raw):
        return model.loss({**params, "process": raw}, key, batch)[0]

    fitted_loss, gradient = process_loss(params["process"])
    default_loss, start = process_loss(default["process"])
    assert fitted_loss < default_loss - 5
    if process == "gaussian":  # for a Student-t the moments are right, the likelihood has no closed-form optimum
        for name in ("raw_variance", "mean"):  # the noise differs between the fit and this loss
            assert np.abs(gradient[name]).max() < 0.05 * np.abs(start[name]).max(), name


@pytest.mark.parametrize("learn_mean", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_constant_mean_gets_no_gradient(learn_mean):
    model, batch = dense_model(model__bruno__learn_mean=learn_mean), batch_of(images(4, 5))
    params = random_like(jax.eval_shape(model.init, jax.random.key(0), batch))
    gradients = jax.jit(jax.grad(lambda params: model.loss(params, jax.random.key(0), batch)[0]))(params)
    assert bool(np.any(gradients["process"]["mean"] != 0)) == learn_mean


@pytest.mark.slow
def test_discriminative_objective_equals_brute_force(x64):
    model = dense_model(
        objective__generative_weight=0.5,
        objective__discriminative_weight=2.0,
        objective__shots=(1, 3),
        objective__temperature=4.0,
        objective__learn_temperature=True,
    )
    batch, key = batch_of(images(4, 5)), jax.random.key(2)
    params = in_float64(shaken(model.init(jax.random.key(0), batch), 1))
    temperature = np.exp(float(params["objective"]["log_temperature"]))
    loss, metrics, _ = model.loss(params, key, batch)
    np.testing.assert_allclose(metrics["temperature"], temperature, rtol=1e-12)
    latent = model.encode(params, jax.random.split(key)[0], batch.x_set)  # the other key chooses queries
    total = -0.5 * sets_of(model).conditional(params, latent).mean()
    for shot in (1, 3):
        losses = []
        for label, window, offset in itertools.product(range(4), range(5), range(shot, 5)):
            scores = np.zeros(4)
            for candidate in range(4):
                members = [(candidate, (window + index) % 5) for index in range(shot)]
                members.append((label, (window + offset) % 5))
                index = tuple(np.array(column) for column in zip(*members, strict=True))
                chosen = jax.tree.map(lambda leaf, at=index: leaf[at], latent)
                scores[candidate] = sets_of(model).conditional(params, chosen)[-1] / temperature
            losses.append(np.logaddexp.reduce(scores) - scores[label])
        np.testing.assert_allclose(metrics[f"cross_entropy_{shot}shot"], np.mean(losses), rtol=1e-8)
        total = total + 2.0 * np.mean(losses) / 2
    np.testing.assert_allclose(loss, total, rtol=1e-8)


def test_masked_queries_do_not_count(x64):
    model = dense_model(objective__discriminative_weight=1.0, objective__shots=(2,))
    batch, key = batch_of(images(4, 5)), jax.random.key(2)
    params = in_float64(random_like(jax.eval_shape(model.init, jax.random.key(0), batch)))
    mask = jnp.asarray([[True, True, True, True, False]] * 4)
    garbage = jnp.asarray(np.where(np.asarray(mask)[..., None, None, None], batch.x_set, 255).astype(np.uint8))
    first = model.loss(params, key, batch._replace(mask=mask))
    second = model.loss(params, key, Batch(garbage, mask, batch.label))
    np.testing.assert_allclose(second[0], first[0], rtol=1e-10)


def test_correlations_drawn_from_a_range():
    config = small_config(model__bruno__scales=0, model__bruno__correlation_range=(0.3, 0.8))
    model, batch = bruno(config, IMAGE_SHAPE), batch_of(images(2, 3))
    drawn, again, other = (jax.jit(model.init)(jax.random.key(seed), batch)["process"] for seed in (0, 0, 1))
    correlation = np.asarray(jax.nn.sigmoid(drawn["raw_correlation"]))
    assert 0.3 <= correlation.min() < 0.35 < 0.75 < correlation.max() <= 0.8
    np.testing.assert_array_equal(drawn["raw_correlation"], again["raw_correlation"])
    assert not np.allclose(drawn["raw_correlation"], other["raw_correlation"])

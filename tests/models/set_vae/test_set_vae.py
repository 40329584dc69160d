"""Set VAEs: the published sizes, the terms of the bound, the objective, and what classes and samples are made of."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.config import load_config
from exflow.core.latents import diagonal_gaussian
from exflow.core.latents.diagonal_gaussian import DiagonalGaussian
from exflow.core.latents.terms import Terms, elbo, log_weight, terms
from exflow.core.latents.trace import Latent, Level, TopDown
from exflow.errors import UserError
from exflow.model import sets_of
from exflow.models.registry import build, num_parameters, params_like
from tests.models.parameters import random_params, shaken
from tests.models.registry import TINY_STREAM, TINY_VECTORS, small_config
from tests.models.test_set_models import batch_of, images, take

VECTOR, MAP, STREAM = ({"model.set_vae.hierarchy": name} for name in ("vector", "map", "stream"))
ATTENTION = {"model.set_vae.aggregation": "attention"}
ALL = {"model.set_vae.set_latent_levels": "all"}
COUNTS = {  # of the original code, by config variant and width
    ("vae", 256): 7_496_267,
    ("vae", 512): 13_345_099,
    ("ns", 256): 7_877_583,
    ("ns", 512): 14_762_959,
    ("ns_lag", 256): 8_074_959,
    ("ns_lag", 512): 15_550_927,
    ("hfsgm", 256): 9_485_015,
    ("hfsgm", 512): 20_861_143,
    ("hfsgm_lag", 256): 9_726_935,
    ("hfsgm_lag", 512): 21_738_199,
    ("cns", 128): 7_348_673,
    ("cns", 256): 16_984_897,
    ("cns_lag", 128): 7_398_209,
    ("cns_lag", 256): 17_182_273,
    ("chfsgm", 128): 9_231_297,
    ("chfsgm", 256): 24_353_857,
    ("chfsgm_lag", 128): 9_379_905,
    ("chfsgm_lag", 256): 24_945_985,
    ("scha", 128): 4_778_305,
    ("scha", 256): 18_423_937,
    ("scha_lag", 128): 5_669_953,
    ("scha_lag", 256): 21_976_705,
}


# These hold every kind of module but the stream's: two or more levels, vectors and maps, averages and attention
COUNTED_BY_DEFAULT = (("ns", 512), ("chfsgm_lag", 128))


@pytest.mark.parametrize(
    ("variant", "width"),
    [pytest.param(*key, marks=[pytest.mark.slow] * (key not in COUNTED_BY_DEFAULT)) for key in COUNTS],
)
def test_parameter_count_is_the_published_one(variant, width):
    config = load_config(f"set_vae_omniglot:{variant}", [("model.set_vae.hidden", str(width))])
    params = params_like(build(config, (28, 28, 1)), config)
    assert num_parameters(params) == COUNTS[variant, width]


@pytest.mark.slow
def test_attention_in_the_prior_is_that_of_the_first_release():
    overrides = [("model.set_vae.prior_aggregation", "attention"), ("model.set_vae.hidden", "128")]
    config = load_config("set_vae_omniglot:chfsgm_lag", overrides)
    assert num_parameters(params_like(build(config, (28, 28, 1)), config)) == 9_478_977


def test_synthetic_statistician_has_the_published_size():
    config = load_config("neural_statistician_synthetic", [])
    assert num_parameters(params_like(build(config, (1, 1, 1)), config)) == 296_462


@pytest.mark.slow  # six compilations
@pytest.mark.parametrize("variant", ["smoke_ns", "smoke_cns_lag", "smoke_scha_lag"])
def test_bfloat16_changes_hidden_layers_alone(variant):
    drawn = np.random.default_rng(0).random((16, 5, 4, 4, 1)) < 0.5  # coarse pictures that differ, as drawings do
    batch = batch_of(jnp.asarray(255 * drawn.repeat(7, axis=2).repeat(7, axis=3), jnp.uint8))
    found = []
    for dtype in ("float32", "bfloat16"):
        config = load_config(f"set_vae_omniglot:{variant}", [("model.compute_dtype", dtype)])
        model = build(config, (28, 28, 1))
        params = jax.jit(model.init)(jax.random.key(0), batch)
        params = {**params, "networks": shaken(params["networks"], 1)}

        def value_and_metrics(params, model=model):
            value, *others = model.loss(params, jax.random.key(2), batch)
            return value, others

        (loss, metrics), grads = jax.jit(jax.value_and_grad(value_and_metrics, has_aux=True))(params)
        for leaf in jax.tree.leaves((loss, metrics, grads)):
            assert leaf.dtype == jnp.float32
        found.append((float(loss), np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads["networks"])])))
    (loss, gradient), (rounded_loss, rounded) = found
    assert rounded_loss != loss
    np.testing.assert_allclose(rounded_loss, loss, rtol=0.02)
    cosine = gradient @ rounded / np.linalg.norm(gradient) / np.linalg.norm(rounded)
    np.testing.assert_allclose(cosine, 1, atol=0.05)


@pytest.mark.parametrize(
    ("variant", "width", "sets", "rate", "decay", "epoch", "steps"),
    [
        ("vae", 512, 100, 1e-3, 0.98, 400, 400_000),
        ("ns", 512, 100, 1e-3, 0.98, 80, 80_000),
        ("cns", 256, 100, 2e-4, 0.98, 80, 80_000),
        ("cns_lag", 256, 100, 1e-3, 0.98, 80, 80_000),
        ("chfsgm", 128, 100, 1e-3, 0.98, 80, 80_000),
        ("scha_lag", 128, 16, 2e-4, 0.9, 500, 500_000),
    ],
)
def test_training_is_the_published_one(variant, width, sets, rate, decay, epoch, steps):
    config = load_config(f"set_vae_omniglot:{variant}", [])
    objective, optimizer = config.objective, config.optimizer
    assert (config.model.set_vae.hidden, config.data.sets_per_batch) == (width, sets)
    assert (objective.alpha, objective.alpha_decay, objective.epoch_steps) == (2.0, decay, epoch)
    assert (optimizer.name, optimizer.learning_rate, optimizer.clip_value, optimizer.l2) == ("adam", rate, 1.0, 1e-5)
    assert config.training.num_steps == steps


def trace_of(rng, num_sets=2, size=3):
    """Random Gaussians and values of two levels, and log-probabilities of the elements."""

    def latent(*shape):
        q, p = (DiagonalGaussian(*(jnp.asarray(rng.normal(size=shape)) for _ in range(2))) for _ in range(2))
        return Latent(jnp.asarray(rng.normal(size=shape)), p, q)

    levels = tuple(Level(latent(num_sets, 4), latent(num_sets, size, 2)) for _ in range(2))
    return TopDown(levels, jnp.zeros(()), None), jnp.asarray(rng.normal(size=(num_sets, size)))


def test_terms_are_sums_over_levels_and_elements_that_exist(x64):
    trace, log_probs = trace_of(np.random.default_rng(0))
    mask = jnp.asarray([[True, True, False], [True, False, False]])
    parts = terms(trace, log_probs, mask)
    for index, size in ((0, 2), (1, 1)):
        expected = float(log_probs[index, :size].sum())
        for level in trace.levels:
            expected -= float(
                diagonal_gaussian.kl_divergence(level.example_latent.q, level.example_latent.p)[index, :size].sum()
            )
            expected -= float(diagonal_gaussian.kl_divergence(level.set_latent.q, level.set_latent.p)[index].sum())
        np.testing.assert_allclose(elbo(parts)[index], expected, rtol=1e-12)


def test_log_weight_is_the_ratio_of_densities(x64):
    trace, log_probs = trace_of(np.random.default_rng(1))
    mask = jnp.asarray([[True, True, False], [True, True, True]])
    weights = log_weight(trace, log_probs, mask)
    expected = float(log_probs[0, :2].sum())
    for level in trace.levels:
        for latent, rows in ((level.set_latent, (0,)), (level.example_latent, (0, slice(0, 2)))):
            for dist, sign in ((latent.p, 1), (latent.q, -1)):
                picked = jax.tree.map(lambda leaf, rows=rows: leaf[rows], dist)
                expected += sign * float(diagonal_gaussian.log_prob(picked, latent.value[rows]).sum())
    np.testing.assert_allclose(weights[0], expected, rtol=1e-12)


def test_loss_is_the_weighted_bound_of_the_epoch(statistician):
    _, params, x_set = statistician
    config = small_config(**TINY_VECTORS, objective__alpha=2.0, objective__alpha_decay=0.5, objective__epoch_steps=10)
    compiled, loss = jax.jit(build(config, (1, 1, 2)).loss), {}
    for step in (0, 9, 10, 29):
        loss[step], metrics, _ = compiled(
            params, jax.random.key(2), batch_of(x_set)._replace(step=jnp.asarray(step, jnp.int32))
        )
        w = 1 + 2 * 0.5 ** (step // 10)
        expected = w * metrics["reconstruction"] + (metrics["kl_z"] + metrics["kl_c"]) / w
        np.testing.assert_allclose(loss[step], expected, rtol=1e-5)
        np.testing.assert_allclose(
            metrics["nelbo"], metrics["reconstruction"] + metrics["kl_z"] + metrics["kl_c"], rtol=1e-5
        )
    assert loss[0] == loss[9]
    assert loss[10] != loss[9]


@pytest.mark.slow
def test_free_bits_switch_off_small_divergences(statistician):
    _, params, x_set = statistician
    for threshold in (0.0, 1e4):
        model = build(small_config(**TINY_VECTORS, objective__free_bits=threshold), (1, 1, 2))
        loss = functools.partial(model.loss, key=jax.random.key(2), batch=batch_of(x_set))
        grads = jax.grad(lambda params, loss=loss: loss(params).value)(params)
        prior = grads["networks"]["hierarchy"]["element_1_prior"]["head"]["Linear_0"]["kernel"]
        assert bool((prior == 0).all()) == (threshold > 0)


@pytest.mark.slow
def test_classes_are_ranked_by_the_divergence_of_their_latents(statistician):
    model, params, x_set = statistician
    elements = model.encode(params, None, x_set)
    states = sets_of(model).update(params, sets_of(model).init_state(params, (4,)), take(elements, slice(0, 3)))
    queries = take(elements, 4)
    scores = sets_of(model).class_log_probs(params, states, queries)
    assert scores.shape == (4, 4)

    def posterior(one_set):
        mask = jnp.ones(one_set.seed.shape, bool)
        trace, _ = model.latents.infer(params, one_set, mask, None)
        return trace.levels[0].set_latent.q

    of_class = posterior(take(elements, slice(0, 3)))
    of_query = posterior(jax.tree.map(lambda leaf: leaf[:, None], queries))
    for query in range(4):
        for label in range(4):
            p = jax.tree.map(lambda leaf, at=label: leaf[at], of_class)
            q = jax.tree.map(lambda leaf, at=query: leaf[at], of_query)
            expected = -diagonal_gaussian.kl_divergence(p, q).sum()
            np.testing.assert_allclose(scores[query, label], expected, rtol=1e-4)


def test_residual_posteriors_are_offsets_from_the_prior(statistician):
    model, params, x_set = statistician
    residual = build(small_config(**TINY_VECTORS, model__set_vae__residual_posteriors=True), (1, 1, 2))
    elements, mask = jax.jit(model.encode)(params, None, x_set), jnp.ones((4, 5), bool)
    plain, offset = (jax.jit(one.latents.infer)(params, elements, mask, None)[0].levels[0] for one in (model, residual))
    for moment in range(2):  # the top prior of the set is N(0, 1)
        np.testing.assert_allclose(offset.set_latent.q[moment], plain.set_latent.q[moment], rtol=1e-6)
        expected = offset.example_latent.p[moment] + plain.example_latent.q[moment]
        np.testing.assert_allclose(offset.example_latent.q[moment], expected, rtol=1e-5, atol=1e-6)
    assert np.abs(plain.example_latent.p.mean).max() > 0.01


@pytest.mark.parametrize(
    ("options", "shape"),
    [(TINY_VECTORS, (1, 1, 2)), pytest.param(TINY_STREAM, (28, 28, 1), marks=pytest.mark.slow)],
)
def test_log_variances_are_bounded_if_asked_to(options, shape):
    config = small_config(**options, model__set_vae__log_variance_bound=0.5)
    model, x_set = build(config, shape), images(2, 3, shape=shape)
    params = jax.tree.map(lambda leaf: 3 * np.asarray(leaf) + np.float32(0.5), random_params(model, config))
    elements = jax.jit(model.encode)(params, None, x_set)
    trace, _ = jax.jit(model.latents.infer)(params, elements, jnp.ones((2, 3), bool), None)
    latents = [
        latent for level in trace.levels for latent in (level.set_latent, level.example_latent) if latent is not None
    ]
    found = [dist for latent in latents for dist in (latent.p, latent.q)]
    assert max(np.abs(dist.log_variance).max() for dist in found) <= 0.5
    assert max(np.abs(dist.mean).max() for dist in found) > 0.5


@pytest.mark.slow
def test_images_of_fair_coins_cost_a_bit_per_pixel():
    config = load_config("set_vae_omniglot:smoke_ns", [("model.set_vae.hidden", "16")])
    model = build(config, (28, 28, 1))
    batch = batch_of(images(8, 5, shape=(28, 28, 1)))
    params = jax.jit(model.init)(jax.random.key(0), batch)
    output = params["networks"]["decoder"]["stack"]["output"]
    params["networks"]["decoder"]["stack"]["output"] = jax.tree.map(jnp.zeros_like, output)
    _, metrics, _ = model.loss(params, jax.random.key(1), batch)
    np.testing.assert_allclose(metrics["reconstruction"], 784 * math.log(2), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "shape", "likelihood"),
    [
        (VECTOR, (64, 64, 3), "gaussian_pixels"),
        (MAP, (64, 64, 3), "logistic_mixture"),
        (MAP | ALL, (32, 32, 3), "bernoulli"),
        (STREAM, (32, 32, 3), "discretized_gaussian"),
    ],
)
def test_colour_pictures_have_models_of_every_kind(options, shape, likelihood):
    small = {
        "hidden": 8,
        "encoder_filters": 4,
        "encoder_blocks": "32-1,4-1,1-1",
        "levels": "4-1,1-1",
        "decoder_blocks": "32-1,8-1",
    }
    options = {key.replace(".", "__"): value for key, value in options.items()}
    options |= {f"model__set_vae__{key}": value for key, value in small.items()}
    config = small_config(model__family="set_vae", model__set_vae__likelihood=likelihood, **options)
    model, x_set = build(config, shape), images(2, 3, shape=shape)
    params = jax.eval_shape(model.init, jax.random.key(0), batch_of(x_set))
    loss, *_ = jax.eval_shape(model.loss, params, jax.random.key(1), batch_of(x_set))
    assert loss.shape == ()
    state = jax.eval_shape(lambda params: sets_of(model).init_state(params, (2,)), params)
    samples = jax.eval_shape(lambda *given: model.sets.sample(*given, 5), params, state, jax.random.key(2))
    assert (samples.shape, samples.dtype) == ((5, 2, *shape), jnp.uint8)


@pytest.mark.slow
def test_pictures_of_64_pixels_are_those_of_32_seen_and_shown_in_blocks():
    overrides = TINY_VECTORS | MAP | {"model__set_vae__likelihood": "bernoulli", "model__set_vae__encoder_filters": 2}
    config = small_config(**{key.replace(".", "__"): value for key, value in overrides.items()})
    model, half = (build(config, (size, size, 1)) for size in (64, 32))
    x_set = images(2, 3, shape=(32, 32, 1))
    params = shaken(jax.jit(half.init)(jax.random.key(0), batch_of(x_set)))
    values = half.latents.likelihood.to_values(None, x_set)
    blocks = values.repeat(2, axis=2).repeat(2, axis=3)
    outputs = []
    for one, seen in ((half, values), (model, blocks)):
        elements = one.latents.encode_values(params, seen)
        elements = elements._replace(seed=jnp.arange(6, dtype=jnp.uint32).reshape(2, 3))
        outputs.append(jax.jit(one.latents.infer)(params, elements, jnp.ones((2, 3), bool), jax.random.key(2))[1])
    np.testing.assert_allclose(outputs[1], outputs[0].repeat(2, axis=2).repeat(2, axis=3), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({}, (14, 14, 1), "expected images of 28x28, 32x32, 64x64"),
        ({"hierarchy": "map"}, (1, 1, 2), "vectors need hierarchy=vector"),
        ({"hierarchy": "stream"}, (64, 64, 3), "stream needs images of 28x28 or 32x32"),
        ({"hierarchy": "stream", "encoder_blocks": "8-1", "levels": "4-1"}, (28, 28, 1), "are not among those"),
        ({"hierarchy": "stream", "levels": "7-1"}, (28, 28, 1), "groups: expected resolutions among"),
        ({"hierarchy": "stream", "levels": "many"}, (28, 28, 1), "groups: expected resolution-number pairs"),
        ({"likelihood": "poisson"}, (28, 28, 1), "poisson"),
    ],
)
def test_impossible_options_are_refused(options, shape, message):
    config = small_config(model__family="set_vae", **{f"model__set_vae__{key}": v for key, v in options.items()})
    with pytest.raises(UserError, match=message):
        build(config, shape)


def test_set_vaes_have_no_products_of_their_own():
    with pytest.raises(UserError, match=r"compute_dtype: expected one of float32, bfloat16, got 'bfloat16_products'"):
        load_config("set_vae_omniglot", [("model.compute_dtype", "bfloat16_products")])


def test_terms_type_is_a_sum_of_three():
    parts = Terms(jnp.asarray([-5.0]), jnp.asarray([[1.0], [2.0]]), jnp.zeros((0, 1)))
    np.testing.assert_allclose(elbo(parts), [-8.0])

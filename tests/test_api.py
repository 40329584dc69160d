"""The Python API on a toy model against dense Gaussian oracles: every call, shape, error and padding."""

import jax
import numpy as np
import pytest

from exflow.api import TrainedModel
from tests.evaluation.toy import toy_model, toy_params
from tests.evaluation.toy_data import image_sets, joint_log_prob, predictive_log_prob

PARAMS = toy_params(4, variance=0.7, covariance=0.6, mean=0.1)
IMAGES = image_sets([6, 6, 6]).images.reshape(3, 6, 2, 2, 1)
LOG_DET = 4 * np.log(1 / 64)


@pytest.fixture(scope="module")
def model():
    return TrainedModel(toy_model(), PARAMS)


def latents(x):
    return (np.asarray(x, np.float64) + 0.5 - 128).reshape(*x.shape[:-3], 4) / 64


def test_streaming_equals_the_dense_joint(model):
    state, total = model.init_state(), 0.0
    x = IMAGES[0]
    for number in range(6):
        log_prob = model.log_prob(state, x[number])
        assert log_prob.shape == ()
        expected = predictive_log_prob(latents(x[:number]), latents(x[number]), PARAMS) + LOG_DET
        np.testing.assert_allclose(log_prob, expected, rtol=2e-5)
        total += log_prob
        state = model.update(state, x[number])
    np.testing.assert_allclose(total, joint_log_prob(latents(x), PARAMS) + 6 * LOG_DET, rtol=2e-5)
    many = model.update(model.update(model.init_state(), x[:1]), x[1:])
    both = [model.log_prob(s, IMAGES[1]) for s in (state, many)]
    assert both[0].shape == (6,)
    np.testing.assert_allclose(both[0], both[1], rtol=1e-5)
    unchanged = model.update(state, x[:0])
    np.testing.assert_allclose(model.log_prob(unchanged, x[0]), model.log_prob(state, x[0]), rtol=1e-6)


def test_sets_of_any_shape_and_ragged_sets(model):
    mask = np.ones((3, 6), bool)
    mask[1, [0, 3, 4]] = mask[2] = False
    joint = model.set_log_prob(IMAGES, mask)
    expected = [joint_log_prob(latents(IMAGES[c][mask[c]]), PARAMS) + mask[c].sum() * LOG_DET for c in range(3)]
    np.testing.assert_allclose(joint, expected, rtol=2e-5)
    conditional = model.conditional_log_probs(IMAGES, mask)
    assert conditional.shape == (3, 6)
    assert not conditional[~mask].any()
    np.testing.assert_allclose(conditional.sum(-1), joint, rtol=1e-5)
    np.testing.assert_allclose(model.set_log_prob(IMAGES[0]), expected[0], rtol=2e-5)
    nested = model.set_log_prob(IMAGES[None, :, ::-1], mask[None, :, ::-1])
    np.testing.assert_allclose(nested[0], joint, rtol=1e-5)


def test_anomaly_scores(model):
    x = IMAGES[:, :5].copy()
    x[0, 3] = 255 - x[0, 3]
    scores = model.anomaly_scores(x)
    loo = model.anomaly_scores(x, leave_one_out=True)
    z = latents(x[0])
    for number in range(5):
        prior = predictive_log_prob(z[:0], z[number], PARAMS)
        np.testing.assert_allclose(
            scores[0, number], predictive_log_prob(z[:number], z[number], PARAMS) - prior, atol=1e-4
        )
        others = np.delete(z, number, axis=0)
        np.testing.assert_allclose(loo[0, number], predictive_log_prob(others, z[number], PARAMS) - prior, atol=1e-4)
    assert np.argmin(loo[0]) == 3
    mask = np.array([True, False, True, True, True])
    masked = model.anomaly_scores(x[0], mask, leave_one_out=True)
    assert masked[1] == 0
    np.testing.assert_allclose(masked[mask], model.anomaly_scores(x[0][mask], leave_one_out=True), rtol=1e-4)


@pytest.mark.parametrize("shots", [(2, 2, 2), (1, 4, 3)])
def test_classification(model, shots):
    support = [IMAGES[label, :shot] for label, shot in enumerate(shots)]
    query = IMAGES[:, 5]
    log_posterior = model.classify(np.stack(support) if len(set(shots)) == 1 else support, query)
    assert log_posterior.shape == (3, 3)
    scores = np.array([[predictive_log_prob(latents(s), z, PARAMS) for s in support] for z in latents(query)])
    expected = scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)
    np.testing.assert_allclose(log_posterior, expected, atol=2e-3)
    prior = np.log([0.5, 0.25, 0.25])
    biased = scores + prior - np.logaddexp.reduce(scores + prior, axis=-1, keepdims=True)
    np.testing.assert_allclose(model.classify(support, query, log_prior=prior), biased, atol=2e-3)


def test_noise_and_its_bound(model):
    state, x = model.update(model.init_state(), IMAGES[0]), IMAGES[1]
    key = jax.random.key(0)
    first, again, other = (model.log_prob(state, x, key=k) for k in (key, key, jax.random.key(1)))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    draws = np.stack([model.log_prob(state, x, key=jax.random.fold_in(key, k)) for k in range(4)])
    bound = model.log_prob(state, x, key=key, num_importance_samples=4)
    np.testing.assert_allclose(bound, np.log(np.exp(draws.astype(np.float64)).mean(0)), rtol=1e-5)
    with pytest.raises(ValueError, match="num_importance_samples: expected 1, or more with a key, got 4"):
        model.log_prob(state, x, num_importance_samples=4)


def test_samples(model):
    state = model.update(model.init_state(), IMAGES[0])
    samples = model.sample(state, jax.random.key(1), 1000)
    assert samples.shape == (1000, 2, 2, 1)
    assert samples.dtype == np.uint8
    many = latents(samples)
    weight = 0.6 / (0.1 + 6 * 0.6)
    mean = 0.1 + weight * (latents(IMAGES[0]) - 0.1).sum(0)
    error = 5 * ((0.1 * (1 + weight)) / 1000) ** 0.5
    inside = np.abs(mean) < 1.2  # further out, pixels are clipped
    np.testing.assert_allclose(many.mean(0)[inside], mean[inside], atol=error + 0.01)
    empty, key = model.init_state(), jax.random.key(2)
    spread = [latents(model.sample(empty, key, 1000, coherent=c)).std(0).mean() for c in (False, True)]
    assert spread[1] < 0.6 * spread[0]


def test_arbitrary_sizes_compile_a_few_programs():
    calls, base = [], toy_model()

    def encode(params, key, x, context=None):
        calls.append("encode")
        return base.encode(params, key, x)

    def update(*arguments):
        calls.append("update")
        return base.sets.update(*arguments)

    model = TrainedModel(base._replace(encode=encode, sets=base.sets._replace(update=update)), PARAMS)
    state, x = model.init_state(), IMAGES.reshape(-1, 2, 2, 1)
    for size in range(1, 17):
        state = model.update(state, x[:size])
    assert calls.count("update") == 5  # 1, 2, 4, 8, 16
    assert calls.count("encode") <= 5
    assert int(state.content.count) == 16 * 17 // 2


def test_encode_keeps_leading_axes(model):
    elements = model.encode(IMAGES)
    np.testing.assert_allclose(elements.z, latents(IMAGES), rtol=1e-6)
    assert elements.log_det.shape == (3, 6)
    assert model.encode(IMAGES[:0]).z.shape == (0, 6, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda m: m.update(m.init_state(), IMAGES),
            ValueError,
            r"x: expected \[num, 2, 2, 1\], got \(3, 6, 2, 2, 1\)",
        ),
        (lambda m: m.log_prob(m.init_state(), IMAGES[0] / 255), TypeError, "x_new: expected uint8 .*, got float64"),
        (lambda m: m.log_prob(m.init_state(), IMAGES[0, :, 0]), ValueError, r"x_new: .* got \(6, 2, 1\)"),
        (lambda m: m.set_log_prob(IMAGES[0, 0]), ValueError, r"x_set: expected \[\.\.\., set, 2, 2, 1\]"),
        (
            lambda m: m.set_log_prob(IMAGES, np.ones(3, bool)),
            ValueError,
            r"mask: expected bool \(3, 6\), got bool \(3,\)",
        ),
        (lambda m: m.classify([], IMAGES[0]), ValueError, "support: expected at least one class"),
        (lambda m: m.classify(IMAGES[:, 0], IMAGES[0]), ValueError, r"support: expected \[num, 2, 2, 1\]"),
        (lambda m: m.classify(IMAGES, IMAGES[0], log_prior=np.zeros(2)), ValueError, r"log_prior: expected \[3\]"),
        (
            lambda m: m.sample(m.init_state(), jax.random.key(0), 0),
            ValueError,
            "num_samples: expected at least 1, got 0",
        ),
        (lambda m: m.preprocess(IMAGES[0]), ValueError, "preprocess: this model has no configuration"),
    ],
)
def test_errors_say_what_was_expected(model, call, error, message):
    with pytest.raises(error, match=message):
        call(model)

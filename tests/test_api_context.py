"""The Python API of conditional models on a toy: contexts reach every call, and their absence is an error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import exflow
from exflow.api import TrainedModel
from exflow.model import sets_of
from tests.evaluation.toy import toy_model, toy_params
from tests.evaluation.toy_data import joint_log_prob, predictive_log_prob
from tests.evaluation.toy_views import DIM, PARAMS, SHAPE, SHIFT, conditional_toy, view_sets
from tests.test_loading import make_workdir

pytestmark = pytest.mark.slow  # many compilations

SETS = view_sets(3, 6)
IMAGES, CONTEXT = SETS.images.reshape(3, 6, *SHAPE), SETS.context.reshape(3, 6, 2)
LOG_DET = DIM * np.log(1 / 64)


@pytest.fixture(scope="module")
def model():
    return TrainedModel(conditional_toy(), PARAMS)


def latents(x, context):
    pixels = np.asarray(x, np.float64).reshape(*x.shape[:-3], DIM)
    return (pixels + 0.5 - 128) / 64 - np.asarray(context, np.float64) @ SHIFT


def test_streaming_and_joint(model):
    assert model.context_dim == 2
    z, state, total = latents(IMAGES[0], CONTEXT[0]), model.init_state(), 0.0
    for number in range(6):
        log_prob = model.log_prob(state, IMAGES[0, number], context=CONTEXT[0, number])
        assert log_prob.shape == ()
        np.testing.assert_allclose(log_prob, predictive_log_prob(z[:number], z[number], PARAMS) + LOG_DET, rtol=2e-5)
        total += log_prob
        state = model.update(state, IMAGES[0, number], context=CONTEXT[0, number])
    at_once = model.update(model.init_state(), IMAGES[0], context=CONTEXT[0])
    np.testing.assert_allclose(at_once.content.total, state.content.total, rtol=1e-5)
    mask = np.array([[True] * 6, [True] * 4 + [False] * 2, [False, True, True, True, True, True]])
    joint = model.set_log_prob(IMAGES, mask, context=CONTEXT)
    np.testing.assert_allclose(joint[0], total, rtol=1e-5)
    for place in (1, 2):
        kept = mask[place]
        expected = joint_log_prob(latents(IMAGES[place][kept], CONTEXT[place][kept]), PARAMS) + kept.sum() * LOG_DET
        np.testing.assert_allclose(joint[place], expected, rtol=2e-5)
    order = np.array([3, 0, 5, 2, 1, 4])
    pairs = model.set_log_prob(IMAGES[:, order], context=CONTEXT[:, order])
    np.testing.assert_allclose(pairs, model.set_log_prob(IMAGES, context=CONTEXT), rtol=1e-5)


def test_encode_score_and_classify(model):
    np.testing.assert_allclose(model.encode(IMAGES, context=CONTEXT).z, latents(IMAGES, CONTEXT), atol=1e-5)
    assert model.encode(IMAGES[:0], context=CONTEXT[:0]).z.shape == (0, 6, DIM)
    scores = model.anomaly_scores(IMAGES, leave_one_out=True, context=CONTEXT)
    z = latents(IMAGES[1], CONTEXT[1])
    gain = predictive_log_prob(z[1:], z[0], PARAMS) - predictive_log_prob(z[:0], z[0], PARAMS)
    np.testing.assert_allclose(scores[1, 0], gain, atol=1e-3)
    log_posterior = model.classify(
        IMAGES[:, :5], IMAGES[:, 5], support_context=CONTEXT[:, :5], query_context=CONTEXT[:, 5]
    )
    support = latents(IMAGES[:, :5], CONTEXT[:, :5])
    query = latents(IMAGES[:, 5], CONTEXT[:, 5])
    expected = np.array([[predictive_log_prob(s, z, PARAMS) for s in support] for z in query])
    expected -= np.logaddexp.reduce(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(log_posterior, expected, atol=5e-3)
    ragged = model.classify(
        [IMAGES[0, :2], IMAGES[1, :1]],
        IMAGES[:, 5],
        support_context=[CONTEXT[0, :2], CONTEXT[1, :1]],
        query_context=CONTEXT[:, 5],
    )
    assert ragged.shape == (3, 2)


def test_samples_follow_their_contexts(model):
    state = model.update(model.init_state(), IMAGES[0], context=CONTEXT[0])
    context = CONTEXT[1, np.arange(300) % 2]
    for coherent in (False, True):
        samples = model.sample(state, jax.random.key(0), 300, coherent, context=context)
        assert samples.shape == (300, *SHAPE)
        z = latents(samples, context)
        distance = np.abs(z[::2].mean(axis=0) - z[1::2].mean(axis=0))  # the same latent law under both contexts
        assert (distance < 5 * z.std(axis=0) / 12 + 0.02).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.update(m.init_state(), IMAGES[0]), r"context: expected finite \[6, 2\], got none"),
        (lambda m: m.log_prob(m.init_state(), IMAGES[0, 0]), r"context: expected finite \[2\], got none"),
        (lambda m: m.encode(IMAGES, context=CONTEXT[0]), r"context: expected finite \[3, 6, 2\], got \(6, 2\)"),
        (lambda m: m.set_log_prob(IMAGES, context=CONTEXT[..., :1]), r"expected finite \[3, 6, 2\], got \(3, 6, 1\)"),
        (lambda m: m.set_log_prob(IMAGES, context=CONTEXT * np.nan), r"expected finite \[3, 6, 2\], got values that"),
        (lambda m: m.sample(m.init_state(), jax.random.key(0), 3), r"context: expected finite \[3, 2\], got none"),
        (lambda m: m.classify(IMAGES, IMAGES[:, 0]), r"support_context: expected finite \[18, 2\], got none"),
        (
            lambda m: m.classify(IMAGES, IMAGES[:, 0], support_context=CONTEXT),
            r"query_context: expected finite \[3, 2\], got none",
        ),
    ],
)
def test_missing_and_wrong_contexts(model, call, message):
    with pytest.raises(ValueError, match=message):
        call(model)


def test_a_trained_conditional_model_is_opened_from_its_folder(tmp_path):
    folder, states, set_model = make_workdir(tmp_path / "run", model__bruno__conditioning="original")
    model, rng = exflow.load(folder), np.random.default_rng(1)
    assert model.context_dim == set_model.context_dim == 2
    x, context = rng.integers(0, 256, (4, 8, 8, 1), dtype=np.uint8), rng.normal(size=(4, 2)).astype(np.float32)
    elements = jax.jit(set_model.encode)(states[1].params, None, jnp.asarray(x), jnp.asarray(context))
    direct = jax.jit(sets_of(set_model).conditional)(states[1].params, elements)
    np.testing.assert_allclose(model.conditional_log_probs(x, context=context), direct, rtol=1e-5)
    state = model.update(model.init_state(), x[:3], context=context[:3])
    np.testing.assert_allclose(model.log_prob(state, x[3], context=context[3]), direct[3], rtol=1e-5)
    assert model.sample(state, jax.random.key(0), 3, coherent=True, context=context[:3]).shape == (3, 8, 8, 1)


def test_an_unconditional_model_takes_none():
    model = TrainedModel(toy_model(SHAPE), toy_params(DIM))
    assert model.context_dim == 0
    with pytest.raises(ValueError, match="context: expected none, this model does not know of contexts. Leave it out"):
        model.update(model.init_state(), IMAGES[0], context=jnp.zeros((6, 2)))

"""Conditional BRUNO: published parameter counts, exactness of the flow, role of the context, objective."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from exflow.config import load_config
from exflow.core.bijectors.rotation import turn_back
from exflow.data import datasets
from exflow.errors import UserError
from exflow.model import sets_of
from exflow.models.bruno.flow import bruno_flow
from exflow.models.bruno.model import bruno
from exflow.models.registry import params_like
from exflow.training.inputs import build_model
from exflow.training.optimizer import make_optimizer
from exflow.training.schedules import learning_rate_schedule
from tests.evaluation.toy_data import image_sets
from tests.models.parameters import in_float64, shaken
from tests.models.registry import IMAGE_SHAPE, compiled, small_config
from tests.models.test_set_models import batch_of, contexts, images

pytestmark = pytest.mark.slow  # many compilations

MODES = ("original", "clean")


def counts(params):
    """Number of trained and of frozen entries; the published mean is a constant and counts as neither."""
    trained = frozen = 0
    for path, leaf in jax.tree.leaves_with_path(params):
        name = jax.tree_util.keystr(path)
        frozen += leaf.size if "frozen" in name else 0
        trained += leaf.size if "frozen" not in name and name != "['process']['mean']" else 0
    return trained, frozen


@pytest.mark.parametrize("conditioning", MODES)
def test_parameter_counts(conditioning):
    """The published model m1: 32x32 grey images, three scales; the clean one has no frozen biases."""
    overrides = [
        ("model.bruno.conditioning", conditioning),
        ("model.block_loop", "scan"),
    ]  # traces fast
    config = load_config("conditional_bruno", overrides)
    model = bruno(config, (32, 32, 1))
    params = params_like(model, config)
    assert model.context_dim == 2
    if conditioning == "original":
        assert counts(params["flow"]) == (15_458_266, 13_312)
        assert counts(params) == (15_460_314, 13_312)
    else:
        assert counts(params)[1] == 0


def test_published_settings():
    """Of m1, m1_a and m1_b: 4 objects of 16 views scored given 1, learning rate 1e-3 * 0.999995^(i + 1)."""
    expected = {"": ("rmsprop", 200_000), ":m1_a": ("adam", 200_000), ":m1_b": ("adam", 500_000)}
    for variant, (optimizer, num_steps) in expected.items():
        config = load_config(f"conditional_bruno{variant}")
        assert (config.optimizer.name, config.training.num_steps) == (optimizer, num_steps)
        assert (config.data.sets_per_batch, config.data.set_size, config.objective.num_given) == (4, 16, 1)
        assert (config.optimizer.b1, config.optimizer.b2, config.optimizer.groups.process.freeze_steps) == (
            0.9,
            0.999,
            499,
        )
        rate = learning_rate_schedule(config.optimizer, num_steps)(num_steps - 1)
        np.testing.assert_allclose(rate, 1e-3 * np.exp(num_steps * np.log(0.999995)), rtol=1e-5)
        options = datasets.parse_options(config.data.dataset, config.data.options)
        assert options == ({"categories": "twelve"} if variant == ":m1_b" else {})


def test_data_without_contexts_are_refused_at_the_start():
    config, bare = small_config(model__bruno__conditioning="clean"), image_sets([5] * 3, IMAGE_SHAPE)
    with pytest.raises(UserError, match="toy/test: expected 2 numbers known of every image"):
        build_model(config, {"train": bare})


@pytest.mark.parametrize(
    ("conditioning", "scales", "coupling", "turn"),
    [
        ("original", 0, "affine", False),
        ("clean", 0, "spline", False),
        ("original", 1, "affine", False),
        ("clean", 1, "affine", False),
        ("clean", 1, "affine", True),
        ("original", 3, "affine", False),
        ("clean", 3, "affine", False),
    ],
)
def test_flow_is_exact(x64, conditioning, scales, coupling, turn):
    options = {"scales": scales, "residual_blocks": int(scales > 0), "conditioning": conditioning, "coupling": coupling}
    options["turn_back"] = turn
    flow = bruno_flow(
        small_config(**{f"model__bruno__{key}": value for key, value in options.items()}).model, (4, 4, 1)
    )
    many = jax.random.uniform(jax.random.key(0), (64, 4, 4, 1), jnp.float64, 1.0, 255.0)
    labels = contexts(64).astype(jnp.float64)
    start = jax.jit(flow.init)(jax.random.key(1), many, labels)
    params, x, label = shaken(start, 2), many[:2], labels[:2]

    @jax.jit
    def both(params, x, label):
        one = lambda x, label: flow.forward(params, x[None], label[None])[0][0]  # noqa: E731
        z, log_det = flow.forward(params, x, label)
        return z, log_det, jax.vmap(jax.jacfwd(one))(x, label).reshape(2, 16, 16), *flow.inverse(params, z, label)

    z, log_det, jacobian, restored, inverse_log_det = both(params, x, label)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], rtol=1e-9)
    np.testing.assert_allclose(restored, x, atol=1e-8)
    np.testing.assert_allclose(inverse_log_det, -log_det, rtol=1e-9)
    turned = both(params, x, label[::-1])
    assert np.abs(turned[0] - z).max() > 1e-3  # another context, another latent
    expected = x / 256 * (1 - 1e-5) + 1e-5 / 2
    logits = jnp.log(expected / (1 - expected))
    logits = turn_back().forward((), logits, label)[0] if turn else logits
    logits = np.sort(logits.reshape(2, -1), axis=1)
    at_start = np.sort(both(start, x, label)[0], axis=1)
    assert np.allclose(at_start, logits) == (conditioning == "clean")  # the identity after the logit


@functools.cache
def conditional_model(num_given=0, process="gaussian"):
    """A dense-only model whose functions are compiled, perturbed float32 parameters, and a batch."""
    options = {"model__bruno__scales": 0, "model__bruno__conditioning": "original", "model__bruno__process": process}
    model, batch = (
        bruno(small_config(**options, objective__num_given=num_given), IMAGE_SHAPE),
        batch_of(images(4, 5)),
    )
    with jax.enable_x64(False):
        params = shaken(jax.jit(model.init)(jax.random.key(0), batch))
    return compiled(model), params, batch


def test_joint_is_invariant_under_permutations_of_pairs(x64):
    model, params, batch = conditional_model()
    params, order = in_float64(params), np.array([3, 0, 4, 2, 1])

    @jax.jit
    def joint(x_set, context):
        return sets_of(model).conditional(params, model.encode(params, None, x_set, context)).sum(-1)

    expected = joint(batch.x_set, batch.context)
    np.testing.assert_allclose(joint(batch.x_set[:, order], batch.context[:, order]), expected, rtol=1e-10)
    assert np.abs(joint(batch.x_set[:, order], batch.context) - expected).max() > 1e-2


@pytest.mark.parametrize("num_given", [1, 2])
@pytest.mark.parametrize("process", ["gaussian", "student_t"])
def test_targets_are_scored_given_the_context_images_alone(process, num_given):
    model, params, batch = conditional_model(num_given, process)
    batch = batch._replace(mask=jnp.asarray([[True] * 4 + [False]] * 3 + [[True] * 5]))
    key = jax.random.key(2)
    loss, metrics, _ = model.loss(params, key, batch)
    elements = model.encode(params, jax.random.split(key)[0], batch.x_set, batch.context)

    def part(row, positions):
        return jax.tree.map(lambda leaf: leaf[row, positions], elements)

    total, number = 0.0, 0
    for row in range(4):
        state = sets_of(model).update(params, sets_of(model).init_state(params), part(row, np.arange(num_given)))
        for target in range(num_given, 5):
            if batch.mask[row, target]:
                total, number = total - float(sets_of(model).log_prob(params, state, part(row, target))), number + 1
    np.testing.assert_allclose(loss, total / number, rtol=1e-5)
    np.testing.assert_allclose(metrics["bits_per_dim"], total / number / (64 * np.log(2)), rtol=1e-5)


def test_samples_follow_their_context():
    model, params, batch = conditional_model()
    elements = model.encode(params, None, batch.x_set, batch.context)
    state = sets_of(model).update(params, sets_of(model).init_state(params, (4,)), elements)
    label = contexts(3, 4, seed=1)
    for coherent in (False, True):
        samples = sets_of(model).sample(params, state, jax.random.key(0), 3, coherent, label)
        assert samples.shape == (3, 4, *IMAGE_SHAPE)
        turned = sets_of(model).sample(params, state, jax.random.key(0), 3, coherent, label[::-1])
        assert (samples != turned).any(axis=(1, 2, 3, 4)).sum() >= 2  # the latents are the same
    mean = model.process.predictive(params, state).mean
    decoded = model.process.decode(params, mean, label[0])
    again = model.encode(params, None, decoded, label[0])
    error = np.abs(model.process.decode(params, again.z, label[0]).astype(int) - np.asarray(decoded, int))
    assert np.median(error) <= 1  # the flow is inverted up to rounding of the pixels


def test_frozen_biases_never_change():
    few = {"model__bruno__scales": 1, "model__bruno__dense_couplings": 0}
    config = small_config(model__bruno__conditioning="original", optimizer__weight_decay=0.1, **few)
    model = bruno(config, IMAGE_SHAPE)
    batch = batch_of(images(4, 5))
    before = jax.jit(model.init)(jax.random.key(0), batch)
    optimizer, _ = make_optimizer(config.optimizer, 10, model.group_of)

    @jax.jit
    def step(params, state):
        gradient = jax.grad(lambda params: model.loss(params, jax.random.key(1), batch)[0])(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    after, _ = step(before, optimizer.init(before))
    changed = jax.tree.map(lambda old, new: bool(np.any(old != new)), before, after)
    for path, value in jax.tree.leaves_with_path(changed["flow"]):
        one_input = "direction" in jax.tree_util.keystr(path)  # of unit norm: a single input has no direction to turn
        assert value != ("frozen" in jax.tree_util.keystr(path)) or one_input, path


@pytest.mark.parametrize(
    ("context", "message"),
    [(None, r"context: expected \(4, 5, 2\), got none"), ((4, 5, 3), r"expected \(4, 5, 2\), got \(4, 5, 3\)")],
)
def test_a_missing_or_wrong_context_is_an_error(context, message):
    model, params, batch = conditional_model()
    with pytest.raises(ValueError, match=message):
        model.encode(params, None, batch.x_set, None if context is None else jnp.zeros(context))


def test_an_unconditional_model_ignores_the_context():
    model, batch = bruno(small_config(model__bruno__scales=0), IMAGE_SHAPE), batch_of(images(4, 5))
    assert model.context_dim == 0
    init, loss = jax.jit(model.init), jax.jit(model.loss)
    bare = batch._replace(context=None)
    params = init(jax.random.key(0), batch)
    jax.tree.map(np.testing.assert_array_equal, params, init(jax.random.key(0), bare))
    assert float(loss(params, jax.random.key(0), batch)[0]) == float(loss(params, jax.random.key(0), bare)[0])

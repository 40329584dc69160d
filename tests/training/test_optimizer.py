"""Optimizers against plain recurrences in float64, and every option's effect."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from exflow.config import base_config
from exflow.errors import UserError
from exflow.training.optimizer import make_optimizer
from exflow.training.schedules import b1_schedule, learning_rate_schedule

STEPS = 30


def section(**values):
    """Section `optimizer` with some values changed."""
    config = base_config("bruno").optimizer
    for key, value in values.items():
        (config.groups.process if key in ("learning_rate_multiplier", "freeze_steps") else config)[key] = value
    return config


def group_of(name):
    return "process" if name == "process" else "main"


def gradients():
    """A gradient per update for two groups; different magnitudes from 1e-4 to 1e2."""
    rng = np.random.default_rng(3)
    scale = 10.0 ** rng.uniform(-4, 2, (7,))
    return [{"flow": {"w": rng.normal(size=7) * scale}, "process": rng.normal(size=5)} for _ in range(STEPS)]


def parameters():
    return {"flow": {"w": np.linspace(-1, 1, 7)}, "process": np.linspace(0.5, 2, 5)}


def train(config, num_steps=STEPS, dtype=np.float64):
    """Parameters after every update."""
    optimizer, _ = make_optimizer(config, num_steps, group_of)
    params = jax.tree.map(lambda p: jnp.asarray(p, dtype), parameters())
    state, history = optimizer.init(params), []
    update = jax.jit(optimizer.update)
    for grads in gradients()[:num_steps]:
        updates, state = update(jax.tree.map(lambda g: jnp.asarray(g, dtype), grads), state, params)
        params = optax.apply_updates(params, updates)
        history.append(jax.device_get(params))
    return history


def reference(group, update):
    """Parameters of one group after every update: p <- p - update(t, g, p)."""
    leaf = (lambda tree: tree["flow"]["w"]) if group == "flow" else (lambda tree: tree["process"])
    p, history = leaf(parameters()).copy(), []
    for t, grads in enumerate(gradients()):
        p = p - update(t, leaf(grads), p)
        history.append(p.copy())
    return history


class RMSProp:
    """ms <- 0.9 ms + 0.1 g^2 from ms = 1; g / sqrt(ms + 1e-10). TensorFlow 1's definition."""

    def __init__(self):
        self.ms = 1.0

    def __call__(self, t, g):
        self.ms = 0.9 * self.ms + 0.1 * g**2
        return g / np.sqrt(self.ms + 1e-10)


class Adam:
    """sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon), t from 1. TensorFlow 1's definition."""

    def __init__(self, b1=0.9, b2=0.999, epsilon=1e-8):
        self.b1, self.b2, self.epsilon, self.m, self.v = b1, b2, epsilon, 0.0, 0.0

    def __call__(self, t, g):
        self.m = self.b1 * self.m + (1 - self.b1) * g
        self.v = self.b2 * self.v + (1 - self.b2) * g**2
        return np.sqrt(1 - self.b2 ** (t + 1)) / (1 - self.b1 ** (t + 1)) * self.m / (np.sqrt(self.v) + self.epsilon)


@pytest.mark.parametrize(
    ("values", "make"),
    [
        ({"name": "rmsprop"}, RMSProp),
        ({"name": "adam"}, Adam),
        ({"name": "adam", "b1": 0.95, "b2": 0.9995}, lambda: Adam(0.95, 0.9995)),
        ({"name": "adam", "b1": 0.0}, lambda: Adam(0.0)),
        ({"name": "adam", "b2": 0.98, "epsilon": 1e-4}, lambda: Adam(0.9, 0.98, 1e-4)),
    ],
)
def test_equals_the_recurrence_in_float64(x64, values, make):
    history = train(section(learning_rate=0.01, **values))
    for group in ("flow", "process"):
        rule = make()
        expected = reference(group, lambda t, g, p, rule=rule: 0.01 * rule(t, g))
        actual = [step["flow"]["w"] if group == "flow" else step["process"] for step in history]
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)


def test_epsilon_stands_where_tensorflow_puts_it(x64):
    """With gradients of 1e-9 the two places differ by a factor of 1.3 in the first update."""
    config = section(name="adam", learning_rate=1.0)
    optimizer, _ = make_optimizer(config, 1, group_of)
    params = {"flow": jnp.zeros(1)}
    updates, _ = optimizer.update({"flow": jnp.full(1, 1e-9)}, optimizer.init(params), params)
    expected = -np.sqrt(1e-3) / 0.1 * 0.1e-9 / (np.sqrt(1e-3) * 1e-9 + 1e-8)
    np.testing.assert_allclose(updates["flow"], expected, rtol=1e-12)


def test_process_learning_rate_scales_the_update(x64):
    """A gradient scale would cancel; this does not."""
    rule = RMSProp()
    expected = reference("process", lambda t, g, p: 0.01 * 0.1 * rule(t, g))
    history = train(section(learning_rate=0.01, learning_rate_multiplier=0.1))
    np.testing.assert_allclose([step["process"] for step in history], expected, rtol=1e-12, atol=1e-14)
    unscaled = train(section(learning_rate=0.01))
    np.testing.assert_array_equal(history[-1]["flow"]["w"], unscaled[-1]["flow"]["w"])


@pytest.mark.parametrize("name", ["rmsprop", "adam"])
def test_frozen_process_sees_zero_gradients(x64, name):
    """As in the original: the average of squares decays meanwhile, so the first update after the freeze is large."""
    frozen = 12
    rule = {"rmsprop": RMSProp, "adam": Adam}[name]()
    expected = reference("process", lambda t, g, p: 0.01 * rule(t, g * (t >= frozen)))
    history = train(section(name=name, learning_rate=0.01, freeze_steps=frozen))
    actual = np.array([step["process"] for step in history])
    np.testing.assert_array_equal(actual[:frozen], np.tile(parameters()["process"], (frozen, 1)))
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)
    assert (actual[frozen] != actual[frozen - 1]).all()


def test_weight_decay_is_decoupled_and_spares_the_process(x64):
    rule, same = RMSProp(), RMSProp()
    history = train(section(learning_rate=0.01, weight_decay=0.1))
    expected = reference("flow", lambda t, g, p: 0.01 * (rule(t, g) + 0.1 * p))
    np.testing.assert_allclose([step["flow"]["w"] for step in history], expected, rtol=1e-12, atol=1e-14)
    expected = reference("process", lambda t, g, p: 0.01 * same(t, g))
    np.testing.assert_allclose([step["process"] for step in history], expected, rtol=1e-12, atol=1e-14)


def test_clipping_uses_the_norm_over_all_groups(x64):
    rule, limit, norms = RMSProp(), 0.5, []
    for grads in gradients():
        norms.append(np.sqrt((grads["flow"]["w"] ** 2).sum() + (grads["process"] ** 2).sum()))
    expected = reference("flow", lambda t, g, p: 0.01 * rule(t, g * min(1, limit / norms[t])))
    history = train(section(learning_rate=0.01, clip_norm=limit))
    np.testing.assert_allclose([step["flow"]["w"] for step in history], expected, rtol=1e-12, atol=1e-14)


def test_schedules():
    rate = learning_rate_schedule(section(learning_rate=2e-3), 10)
    assert float(rate(0)) == float(rate(10**6)) == pytest.approx(2e-3)

    published = section(schedule="exponential", decay_rate=0.999995, boost=1.5, boost_step=99)
    rate = learning_rate_schedule(published, 200_000)
    for t in (0, 98, 99, 5_000, 199_999):  # the last is the published 5.5e-4
        expected = 1e-3 * 0.999995 ** (t + 1) * (1.5 if t >= 99 else 1)
        np.testing.assert_allclose(float(rate(t)), expected, rtol=3e-7)
    np.testing.assert_allclose(float(rate(199_999)), 5.5e-4, rtol=0.01)

    rate = learning_rate_schedule(section(learning_rate=1.0, schedule="cosine", warmup_steps=4), 100)
    expected = [min(1, (t + 1) / 4) * (1 + np.cos(np.pi * t / 100)) / 2 for t in range(101)]
    np.testing.assert_allclose([float(rate(t)) for t in range(101)], expected, atol=1e-6)
    assert float(rate(1000)) == pytest.approx(0, abs=1e-7)


def test_updates_follow_the_schedule(x64):
    config = section(learning_rate=0.01, schedule="exponential", decay_rate=0.9)
    rule = RMSProp()
    expected = reference("flow", lambda t, g, p: 0.01 * 0.9 ** (t + 1) * rule(t, g))
    actual = [step["flow"]["w"] for step in train(config)]
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)


MILESTONES = {"schedule": "milestones", "milestones": (4, 9, 20), "hold_steps": 15, "decay_steps": 10}


def rate_and_b1(t, b1):
    """By hand: each milestone halves the rate and the distance of b1 to 0.95; the fall to 0 is from 15 to 25."""
    rate = 0.01
    for milestone in (4, 9, 20):
        if t >= milestone:
            rate, b1 = rate / 2, b1 + (0.95 - b1) / 2
    return rate * (1 if t < 15 else (25 - t) / 10 if t < 25 else 0), b1


@pytest.mark.parametrize("b1", [0.8, 0.0])
def test_milestones_move_the_rate_and_b1_together(x64, b1):
    """Adam with the present b1 in its correction, too, as published; the last five updates are none."""
    rule = Adam(b2=0.98, epsilon=1e-4)

    def update(t, g, p):
        rate, rule.b1 = rate_and_b1(t, b1)
        return rate * rule(t, g)

    history = train(section(name="adam", learning_rate=0.01, b1=b1, b2=0.98, epsilon=1e-4, **MILESTONES))
    actual = [step["flow"]["w"] for step in history]
    np.testing.assert_allclose(actual, reference("flow", update), rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(actual[24:], np.tile(actual[24], (6, 1)))
    assert (actual[23] != actual[24]).all()


def test_milestones_of_a_published_run():
    """Five milestones from 1e-3 and 0.8 end at 3.125e-5 and 0.9453."""
    config = section(schedule="milestones", milestones=(5, 15, 30, 60, 100), hold_steps=150, decay_steps=150, b1=0.8)
    rate, b1 = learning_rate_schedule(config, 0), b1_schedule(config)
    np.testing.assert_allclose([float(rate(t)) for t in (4, 5, 99, 100, 150)], [1e-3, 5e-4, 6.25e-5, *2 * [3.125e-5]])
    np.testing.assert_allclose([float(b1(t)) for t in (4, 5, 100)], [0.8, 0.875, 0.9453125], rtol=1e-6)
    np.testing.assert_allclose([float(rate(t)) for t in (225, 299)], [3.125e-5 / 2, 3.125e-5 / 150], rtol=1e-5)
    assert float(rate(300)) == float(rate(10**6)) == 0.0
    assert b1_schedule(section(b1=0.8, milestones=(5,))) == 0.8


def test_a_group_that_moves_twice_a_step_counts_twice_but_goes_by_the_step(x64):
    """Moments and their correction by its own updates; rate, b1 and freeze by the step."""
    config = section(name="adam", learning_rate=0.01, b1=0.8, freeze_steps=3, **MILESTONES)
    optimizer, _ = make_optimizer(config, STEPS, group_of)
    params = jax.tree.map(jnp.asarray, parameters())
    state, p, rule, move = optimizer.init(params), parameters()["process"], Adam(), jax.jit(optimizer.update)
    for number, grads in enumerate(gradients()):
        step, given = number // 2, jax.tree.map(jnp.asarray, {"process": grads["process"]})
        updates, state = move(given, state, params, step=jnp.asarray(step))
        params = params | optax.apply_updates({"process": params["process"]}, updates)
        rate, rule.b1 = rate_and_b1(step, 0.8)
        p = p - rate * rule(number, grads["process"] * (step >= 3))
        np.testing.assert_allclose(params["process"], p, rtol=1e-12, atol=1e-14)


def test_models_without_a_process_group():
    optimizer, _ = make_optimizer(section(), 10, group_of)
    for params in ({"encoder": jnp.ones(3)}, {"encoder": (jnp.ones(3), jnp.ones(2)), "decoder": jnp.ones(1)}):
        updates, _ = optimizer.update(params, optimizer.init(params), params)
        assert all((leaf < 0).all() for leaf in jax.tree.leaves(updates))


def test_unknown_names():
    with pytest.raises(UserError, match=r"config\.optimizer\.name: expected 'rmsprop' or 'adam', got 'sgd'"):
        make_optimizer(section(name="sgd"), 10, group_of)
    with pytest.raises(UserError, match=r"config\.optimizer\.schedule: expected one of .*, milestones, got 'step'"):
        make_optimizer(section(schedule="step"), 10, group_of)

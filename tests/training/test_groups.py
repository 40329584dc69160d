"""Optimiser groups: options of their own, states of their own, and updates of some groups alone."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from exflow.config import base_config
from exflow.training.groups import by_group, groups_of, members
from exflow.training.optimizer import make_optimizer
from tests.training.test_optimizer import RMSProp

STEPS = 8
PARAMS = {"net": np.linspace(-1, 1, 4), "prior": np.linspace(0.5, 2, 3), "statistics": np.ones(2)}
NAMES = {"net": "main", "prior": "inference", "statistics": "statistics"}


def optimizer(main=None, **options):
    """Optimiser with options of the group "inference"."""
    config = base_config("bruno").optimizer
    config.update(learning_rate=0.01, **(main or {}))
    with config.unlocked():
        config.groups["inference"] = {**config.groups.process.to_dict(), **options}
    return make_optimizer(config, STEPS, NAMES.get)[0]


def gradients():
    rng = np.random.default_rng(5)
    return [{"net": rng.normal(size=4), "prior": rng.normal(size=3) * 3} for _ in range(STEPS)]


def train(rule):
    """The group "inference" after every update."""
    params, history = jax.tree.map(jnp.asarray, PARAMS), []
    state = rule.init(params)
    for grads in gradients():
        moving = {name: params[name] for name in grads}
        updates, state = rule.update(jax.tree.map(jnp.asarray, grads), state, moving)
        params = params | optax.apply_updates(moving, updates)
        history.append(params)
    return history


def reference(update):
    p, history = PARAMS["prior"], []
    for t, grads in enumerate(gradients()):
        p = p - update(t, grads["prior"], p)
        history.append(p)
    return history


def prior(history):
    return [params["prior"] for params in history]


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)


def test_clipping_of_a_group_sees_its_own_gradient(x64):
    rule = RMSProp()
    expected = reference(lambda t, g, p: 0.01 * rule(t, g * min(1, 0.5 / np.linalg.norm(g))))
    history = train(optimizer(clip_norm=0.5))
    close(prior(history), expected)
    rule = RMSProp()
    close(prior(train(optimizer(clip_value=0.2))), reference(lambda t, g, p: 0.01 * rule(t, np.clip(g, -0.2, 0.2))))
    plain = train(optimizer())
    chex.assert_trees_all_equal(history[-1]["net"], plain[-1]["net"])  # of the other group nothing is clipped


def test_decay_of_a_group_is_its_own(x64):
    rule = RMSProp()
    expected = reference(lambda t, g, p: 0.01 * (rule(t, g + 0.3 * p) + 0.2 * p))
    history = train(optimizer(l2=0.3, weight_decay=0.2))
    close(prior(history), expected)
    chex.assert_trees_all_equal(history[-1]["net"], train(optimizer())[-1]["net"])


def test_a_frozen_group_does_not_even_decay(x64):
    history = prior(train(optimizer(freeze_steps=5, l2=0.3, weight_decay=0.2, learning_rate_multiplier=2.0)))
    np.testing.assert_array_equal(history[:5], np.tile(PARAMS["prior"], (5, 1)))
    assert (np.asarray(history[5]) != PARAMS["prior"]).all()


def test_a_group_without_options_learns_like_the_main_group_without_its_decay(x64):
    rule = RMSProp()
    config = base_config("bruno").optimizer
    config.update(learning_rate=0.01, l2=0.3, weight_decay=0.2)
    with config.unlocked():
        del config.groups["process"]
    expected = reference(lambda t, g, p: 0.01 * rule(t, g))
    close(prior(train(make_optimizer(config, STEPS, NAMES.get)[0])), expected)


@pytest.mark.parametrize("name", ["rmsprop", "adam"])
def test_an_update_of_one_group_leaves_the_others_alone(name):
    rule = optimizer({"name": name, "clip_norm": 0.1})
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), PARAMS)
    before = rule.init(params)
    updates, after = rule.update({"prior": jnp.ones(3)}, before, {"prior": params["prior"]})
    assert set(updates) == {"prior"}
    chex.assert_trees_all_equal_structs(before, after)
    chex.assert_trees_all_equal(after[-1]["main"], before[-1]["main"])
    changed = jax.tree.map(lambda new, old: bool((new != old).any()), after[-1]["inference"], before[-1]["inference"])
    assert any(jax.tree.leaves(changed))


def test_running_averages_have_no_optimizer():
    assert groups_of(PARAMS, NAMES.get) == ("main", "inference")
    assert set(by_group(lambda group: optax.sgd(1.0), NAMES.get).init(PARAMS)) == {"main", "inference"}
    assert set(members(PARAMS, NAMES.get, ("inference",))) == {"prior"}

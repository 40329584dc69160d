"""Steps of several phases: against a loop written by hand, and what a phase leaves alone."""

import itertools
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.errors import UserError
from exflow.model import Model, Phase
from exflow.training.optimizer import AdamState, make_optimizer
from exflow.training.phases import phases_of
from exflow.training.sharding import make_mesh
from exflow.training.step import init_train_state, make_train_step, named_keys
from exflow.typing import Batch, Loss
from tests.training.test_optimizer import Adam, RMSProp
from tests.training.toy import IMAGE_SHAPE, device_pipeline, fit, toy_config, toy_model

KEY = jax.random.key(3)
PARAMS = {"decoder": np.array([0.5, -1.0, 2.0], np.float32), "process": np.array([1.0, 0.3], np.float32)}
RATE = 0.01


def wake(params, key, batch):
    """Moves the decoder towards the images, and to where the process pulls it."""
    target = batch.x_set.astype(jnp.float32).mean() + jax.random.normal(key)
    value = ((params["decoder"] - target) ** 2).sum() + (params["process"] * params["decoder"][:2]).sum()
    return Loss(value, {"target": target})


def sleep(params, key, batch):
    """Moves the process to twice the decoder, with noise; steps whose images are all 255 have no value."""
    noise = jax.random.normal(key)
    bad = jnp.where((batch.x_set == 255).all(), jnp.nan, 1.0)
    return Loss(bad * ((params["process"] - 2 * params["decoder"][:2] - noise) ** 2).sum(), {"noise": noise})


WAKE, SLEEP = Phase("wake", wake, ("main",)), Phase("sleep", sleep, ("process",))


def model(*phases):
    return Model("phases", IMAGE_SHAPE, None, wake, None, group_of=toy_model().group_of, phases=phases)


def batch_of(value):
    return Batch(jnp.full((2, 1, *IMAGE_SHAPE), value, jnp.uint8), jnp.ones((2, 1), bool), jnp.zeros(2, jnp.int32))


def train(model, values, scan=None, only_groups=(), **overrides):
    """State and metrics after one step per value of the images."""
    config, mesh = toy_config(optimizer__learning_rate=RATE, **overrides), make_mesh(jax.devices()[:1])
    optimizer, schedule = make_optimizer(config.optimizer, 10, model.group_of)
    decay = config.optimizer.ema_decay
    step = make_train_step(
        model, optimizer, schedule, lambda resident, value: batch_of(value), KEY, mesh, decay, None, scan, only_groups
    )
    state, history, done = init_train_state(optimizer, PARAMS, decay, mesh), [], 0
    while done < len(values):
        count = min(len(values) - done, step.steps_until_next_program(done))
        for placed in step.place([np.int32(value) for value in values[done : done + count]]):
            state, metrics = step.at(done)(state, (), placed)
            history.append(jax.device_get(metrics))
        done += count
    return jax.device_get(state), history


def test_two_phases_equal_a_loop_written_by_hand():
    values = [3, 5, 4, 1]
    state, history = train(model(WAKE, SLEEP), values)
    w, p = PARAMS["decoder"].astype(np.float64), PARAMS["process"].astype(np.float64)
    rules = RMSProp(), RMSProp()
    for step, value in enumerate(values):
        key = named_keys(KEY, step).loss  # the first phase has the key of a step of one phase
        target, noise = value + float(jax.random.normal(key)), float(jax.random.normal(jax.random.fold_in(key, 1)))
        gradient = 2 * (w - target) + np.append(p, 0.0)
        loss = ((w - target) ** 2).sum() + (p * w[:2]).sum()
        np.testing.assert_allclose(history[step]["loss"], loss, rtol=1e-5)
        np.testing.assert_allclose(history[step]["grad_norm"], np.linalg.norm(gradient), rtol=1e-5)
        w = w - RATE * rules[0](step, gradient)
        gradient = 2 * (p - 2 * w[:2] - noise)  # of the decoder that the first phase has moved
        np.testing.assert_allclose(history[step]["sleep/loss"], (gradient**2).sum() / 4, rtol=1e-5)
        np.testing.assert_allclose(history[step]["sleep/grad_norm"], np.linalg.norm(gradient), rtol=1e-5)
        np.testing.assert_allclose(history[step]["sleep/noise"], noise, rtol=1e-6)
        p = p - RATE * rules[1](step, gradient)
    np.testing.assert_allclose(state.params["decoder"], w, rtol=1e-5)
    np.testing.assert_allclose(state.params["process"], p, rtol=1e-5)
    assert "target" in history[0]


@pytest.mark.parametrize("name", ["rmsprop", "adam"])
@pytest.mark.parametrize(("phase", "still", "moves"), [(WAKE, "process", "decoder"), (SLEEP, "decoder", "process")])
def test_only_the_named_groups_move(name, phase, still, moves):
    groups = {"decoder": "main", "process": "process"}
    none, _ = train(model(phase), [], optimizer__name=name)
    some, _ = train(model(phase), [3, 5], optimizer__name=name)
    np.testing.assert_array_equal(some.params[still], PARAMS[still])
    assert (some.params[moves] != PARAMS[moves]).all()
    before, after = none.opt_state[-1], some.opt_state[-1]
    chex.assert_trees_all_equal(after[groups[still]], before[groups[still]])
    same = jax.tree.map(np.array_equal, after[groups[moves]], before[groups[moves]])
    assert not all(jax.tree.leaves(same))


def test_one_phase_equals_none_bit_for_bit():
    toy, pipeline, states = toy_model(), device_pipeline(), []
    config, mesh = toy_config(optimizer__ema_decay=0.9, optimizer__clip_norm=1.0), make_mesh(jax.devices()[:1])
    for phases in ((), (Phase("only", toy.loss, ("main", "process")),)):
        optimizer, schedule = make_optimizer(config.optimizer, 20, toy.group_of)
        step = make_train_step(
            toy._replace(phases=phases), optimizer, schedule, pipeline.materialize, KEY, mesh, ema_decay=0.9
        )
        params = toy.init(KEY, pipeline.materialize(pipeline.resident, np.int32(0)))
        state = init_train_state(optimizer, params, 0.9, mesh)
        for placed in step.place(list(itertools.islice(pipeline.batches(0), 5))):
            state, metrics = step.step(state, pipeline.resident, placed)
        states.append(jax.device_get((state, metrics)))
    chex.assert_trees_all_equal(*states)


def test_a_phase_without_a_finite_loss_undoes_the_phases_before_it():
    good, _ = train(model(WAKE, SLEEP), [3], optimizer__ema_decay=0.9)
    state, history = train(model(WAKE, SLEEP), [3, 255], optimizer__ema_decay=0.9)
    assert np.isfinite(history[-1]["loss"])
    assert np.isnan(history[-1]["sleep/loss"])
    assert (int(state.step), int(state.num_skipped)) == (2, 1)
    chex.assert_trees_all_equal(
        (state.params, state.ema_params, state.opt_state), (good.params, good.ema_params, good.opt_state)
    )


def test_running_averages_of_a_phase_replace_the_parameters():
    def loss(params, key, batch):
        seen = params["statistics"] + 1
        return Loss((params["decoder"] ** 2).sum(), {}, seen)

    averaging = model(Phase("wake", loss, ("main",)), Phase("sleep", loss, ("process",)))
    averaging = averaging._replace(group_of={"decoder": "main", "statistics": "statistics"}.get)
    config, mesh = toy_config(), make_mesh(jax.devices()[:1])
    optimizer, schedule = make_optimizer(config.optimizer, 10, averaging.group_of)
    step = make_train_step(averaging, optimizer, schedule, lambda resident, value: batch_of(value), KEY, mesh)
    params = {"decoder": PARAMS["decoder"], "statistics": np.zeros(2, np.float32)}
    state, _ = step.step(init_train_state(optimizer, params, 0.0, mesh), (), jnp.int32(1))
    np.testing.assert_array_equal(state.params["statistics"], [2.0, 2.0])
    for only_groups, expected in ((("main",), 0.0), (("main", "statistics"), 1.0)):
        step = make_train_step(
            averaging, optimizer, schedule, lambda resident, value: batch_of(value), KEY, mesh, only_groups=only_groups
        )
        state, _ = step.step(init_train_state(optimizer, params, 0.0, mesh), (), jnp.int32(1))
        np.testing.assert_array_equal(state.params["statistics"], expected)


@pytest.mark.parametrize("phases", [(), (WAKE._replace(groups=("main", "process")), SLEEP)], ids=["none", "two"])
def test_only_some_groups_change(phases):
    """The others stay bit for bit, their moving averages and optimizer states too."""
    options = {"optimizer__name": "adam", "optimizer__ema_decay": 0.9}
    before, _ = train(model(*phases), [], **options)
    after, metrics = train(model(*phases), [3, 5], only_groups=("process",), **options)
    assert set(metrics[0]) >= {"loss", "grad_norm"}
    for found, was in ((after.params, before.params), (after.ema_params, before.ema_params)):
        np.testing.assert_array_equal(found["decoder"], was["decoder"])
        assert (found["process"] != was["process"]).all()
    chex.assert_trees_all_equal(after.opt_state[-1]["main"], before.opt_state[-1]["main"])
    assert int(adam_states(after)["process"].count) == 2 * max(1, len(phases))


def test_a_phase_without_a_group_that_may_change_is_left_out():
    two = model(WAKE._replace(groups=("main", "process")), SLEEP)
    assert phases_of(two, PARAMS, ("main",)) == (WAKE,)
    assert phases_of(two, PARAMS, ("process", "statistics")) == (WAKE._replace(groups=("process",)), SLEEP)
    assert [phase.groups for phase in phases_of(model(), PARAMS, ("process",))] == [("process",)]
    with pytest.raises(UserError, match=r"only_groups: expected some of main, process, got \('statistics',\)"):
        phases_of(two, PARAMS, ("statistics",))


@pytest.mark.slow
def test_a_run_changes_what_its_configuration_says(tmp_path):
    start = {}
    config = toy_config(training__only_groups=("process",), training__num_steps=2)
    end = fit(
        config, tmp_path, toy_model(), device_pipeline(), warm_start=lambda params: start.update(params) or params
    )
    chex.assert_trees_all_equal(jax.device_get(end.state.params["flow"]), start["flow"])
    assert (np.asarray(end.state.params["process"]["mean"]) != start["process"]["mean"]).all()


LATER = SLEEP._replace(start_step=2)
VALUES = [3, 5, 4, 1]


def test_before_its_first_step_a_phase_leaves_no_trace():
    options = {"optimizer__name": "adam", "optimizer__ema_decay": 0.9}
    without, without_metrics = train(model(WAKE), VALUES[:2], **options)
    before, metrics = train(model(WAKE, LATER), VALUES[:2], **options)
    chex.assert_trees_all_equal(before, without)  # also the optimizer's averages and counters
    for ours, theirs in zip(metrics, without_metrics, strict=True):
        assert {name: ours.pop(name) for name in ("sleep/loss", "sleep/noise", "sleep/grad_norm")} == dict.fromkeys(
            ("sleep/loss", "sleep/noise", "sleep/grad_norm"), 0.0
        )
        chex.assert_trees_all_equal(ours, theirs)


def test_from_its_first_step_on_a_phase_moves_its_groups_alone():
    without, _ = train(model(WAKE), VALUES[:3])
    after, metrics = train(model(WAKE, LATER), VALUES[:3])
    np.testing.assert_array_equal(after.params["decoder"], without.params["decoder"])
    chex.assert_trees_all_equal(after.opt_state[-1]["main"], without.opt_state[-1]["main"])
    key = jax.random.fold_in(named_keys(KEY, 2).loss, 1)  # as if the phase had never been left out
    gradient = 2 * (PARAMS["process"] - 2 * after.params["decoder"][:2] - float(jax.random.normal(key)))
    np.testing.assert_allclose(after.params["process"], PARAMS["process"] - RATE * RMSProp()(0, gradient), rtol=1e-5)
    np.testing.assert_allclose(metrics[2]["sleep/grad_norm"], np.linalg.norm(gradient), rtol=1e-5)


@pytest.mark.slow
def test_steps_in_one_loop_change_their_program_in_between():
    one_by_one, _ = train(model(WAKE, LATER), VALUES)
    in_loops, history = train(model(WAKE, LATER), VALUES, scan=True)
    assert [rows["loss"].shape for rows in history] == [(2,), (2,)]
    chex.assert_trees_all_close(in_loops.params, one_by_one.params, rtol=1e-6)


def test_a_group_of_two_phases_counts_its_updates_and_keeps_to_the_schedule():
    """Adam's moments and their count are shared by both phases; the milestone, at step 3, is passed with the step."""
    both, overrides = WAKE._replace(groups=("main", "process")), {"b1": 0.8, "epsilon": 1e-4, "milestones": (3,)}
    overrides = {f"optimizer__{name}": value for name, value in overrides.items()}
    options = overrides | {"optimizer__name": "adam", "optimizer__schedule": "milestones"}
    state, history = train(model(both, LATER), VALUES, **options)
    w, p = PARAMS["decoder"].astype(np.float64), PARAMS["process"].astype(np.float64)
    rules, updates = (Adam(epsilon=1e-4), Adam(epsilon=1e-4)), 0
    for step, value in enumerate(VALUES):
        rate = RATE / 2 if step >= 3 else RATE
        for rule in rules:
            rule.b1 = 0.875 if step >= 3 else 0.8
        key = named_keys(KEY, step).loss
        target, noise = value + float(jax.random.normal(key)), float(jax.random.normal(jax.random.fold_in(key, 1)))
        of_w, of_p = 2 * (w - target) + np.append(p, 0.0), w[:2]
        w, p = w - rate * rules[0](step, of_w), p - rate * rules[1](updates, of_p)
        updates += 1
        if step >= 2:
            p = p - rate * rules[1](updates, 2 * (p - 2 * w[:2] - noise))
            updates += 1
        np.testing.assert_allclose(history[step]["learning_rate"], rate, rtol=1e-6)
    np.testing.assert_allclose(state.params["decoder"], w, rtol=1e-5)
    np.testing.assert_allclose(state.params["process"], p, rtol=1e-5)
    counts = {group: int(found.count) for group, found in adam_states(state).items()}
    assert counts == {"main": 4, "process": 6}


def adam_states(state):
    """Adam's state of each group."""
    return {
        group: next(part for part in parts if isinstance(part, AdamState))
        for group, parts in state.opt_state[-1].items()
    }


@pytest.mark.slow
def test_a_run_resumed_before_the_first_step_of_a_phase_ends_alike(tmp_path):
    toy = toy_model()
    phases = Phase("wake", toy.loss, ("main", "process")), Phase("sleep", toy.loss, ("process",), start_step=4)
    toy, ends = toy._replace(phases=phases), []
    for lengths in ((7,), (3, 7)):
        for length in lengths:
            options = {"optimizer__name": "adam", "training__steps_per_call": 3, "training__log_every": 1}
            result = fit(
                toy_config(training__num_steps=length, **options), tmp_path / str(len(lengths)), toy, device_pipeline()
            )
        ends.append(jax.device_get(result.state))
    chex.assert_trees_all_equal(*ends)
    assert int(adam_states(ends[0])["process"].count) == 10
    rows = [json.loads(line) for line in (tmp_path / "1" / "metrics.jsonl").read_text().splitlines()]
    found = [(row["step"], row["sleep/loss"] > 0, row["sleep/nll"] > 0) for row in rows]
    assert found == [(3, False, False), (4, False, False), (6, True, True), (7, True, True)]  # (6: steps 4 and 5)

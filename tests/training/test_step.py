"""The compiled step: guard against non-finite values, moving average, devices, calls of several steps."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.training.initialization import batches_at
from exflow.training.optimizer import make_optimizer
from exflow.training.sharding import make_mesh, place_inputs, place_stacked_inputs, replicate
from exflow.training.state import evaluation_params
from exflow.training.step import init_train_state, make_train_step, named_keys
from tests.training.both_pipelines import BOTH_PIPELINES
from tests.training.toy import NUM_SETS, device_pipeline, toy_config, toy_model


def prepare(pipeline=None, num_devices=1, model=None, transform=None, scan=None, donate=None, **overrides):
    """State before training, the step, and an iterator of inputs."""
    config = toy_config(**overrides)
    mesh = make_mesh(jax.devices()[:num_devices])
    pipeline, model = pipeline or device_pipeline(), model or toy_model()
    optimizer, schedule = make_optimizer(config.optimizer, config.training.num_steps, model.group_of)
    resident, key = replicate(mesh, pipeline.resident), jax.random.key(0)
    ema_decay = config.optimizer.ema_decay
    built = (model, optimizer, schedule, pipeline.materialize, key, mesh, ema_decay)
    step = make_train_step(*built, transform=transform, scan=scan, donate=donate)
    (batch,) = batches_at(pipeline, resident, mesh, 0, 1, key)
    state = init_train_state(optimizer, jax.jit(model.init)(key, batch), ema_decay, mesh)

    def run(state, count, start=0):
        history = []
        for inputs in step.place(list(itertools.islice(pipeline.batches(start), count))):
            state, metrics = step.step(state, resident, inputs)
            history.append(metrics)
        rows = [np.atleast_1d(row["loss"]) for row in jax.device_get(history)]
        return state, history, np.concatenate(rows)

    return state, run


def host(tree):
    return jax.tree.map(np.array, tree)


def test_loss_falls():
    state, run = prepare()
    state, _, losses = run(state, 60)
    assert int(state.step) == 60
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.usefixtures("two_devices")
@pytest.mark.parametrize("pipeline", BOTH_PIPELINES)
def test_two_devices_equal_one(pipeline):
    one, run_one = prepare(pipeline, 1, optimizer__ema_decay=0.9)
    two, run_two = prepare(pipeline, 2, optimizer__ema_decay=0.9)
    one, _, losses_one = run_one(one, 10)
    two, _, losses_two = run_two(two, 10)
    assert len(two.params["flow"]["weight"].sharding.device_set) == 2
    np.testing.assert_allclose(losses_two, losses_one, rtol=1e-6)
    chex.assert_trees_all_close(host(two), host(one), rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("two_devices")
@pytest.mark.parametrize("pipeline", BOTH_PIPELINES)
def test_one_dispatch_for_several_steps_equals_one_by_one(pipeline):
    single, run_single = prepare(pipeline, 2, scan=False, optimizer__ema_decay=0.9)
    scanned, run_scanned = prepare(pipeline, 2, scan=True, optimizer__ema_decay=0.9)
    single, _, losses = run_single(single, 6)
    scanned, history, scanned_losses = run_scanned(scanned, 6)
    assert history[0]["loss"].shape == (6,)
    np.testing.assert_allclose(scanned_losses, losses, rtol=1e-6)
    chex.assert_trees_all_close(host(scanned), host(single), rtol=1e-6, atol=1e-6)


def test_compiles_once():
    model = toy_model()
    chex.clear_trace_counter()
    counted = chex.assert_max_traces(model.loss, n=1)
    state, run = prepare(model=model._replace(loss=counted))
    for start in range(0, 9, 3):
        state, _, _ = run(state, 3, start)


def test_state_is_donated():
    state, run = prepare(optimizer__ema_decay=0.9, donate=True)
    run(state, 1)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.ema_params, state.opt_state)))


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
def test_non_finite_loss_changes_nothing_but_the_counters(optimizer):
    values = {"optimizer__name": optimizer, "optimizer__ema_decay": 0.9, "optimizer__clip_norm": 1.0}
    state, run = prepare(device_pipeline(poison=(3, 4, 6)), **values)
    state, _, losses = run(state, 3)
    before = host(state)
    state, _, losses = run(state, 2, start=3)
    assert np.isnan(losses).all()
    after = host(state)
    chex.assert_trees_all_equal(after.params, before.params)
    chex.assert_trees_all_equal(after.ema_params, before.ema_params)
    chex.assert_trees_all_equal(after.opt_state, before.opt_state)
    assert (int(after.step), int(after.num_skipped_in_a_row), int(after.num_skipped)) == (5, 2, 2)
    state, _, _ = run(state, 1, start=5)  # a good step ends the row ...
    assert (int(state.num_skipped_in_a_row), int(state.num_skipped)) == (0, 2)
    assert not np.array_equal(state.params["flow"]["weight"], before.params["flow"]["weight"])
    state, history, _ = run(state, 2, start=6)  # ... and training goes on after another bad one
    assert (int(state.num_skipped_in_a_row), int(state.num_skipped)) == (0, 3)
    chex.assert_tree_all_finite(host(state))
    assert float(history[-1]["num_skipped"]) == 3


def test_skipped_steps_leave_no_trace():
    """Training over good, bad, good batches ends where training over the good ones ends."""
    state, run = prepare(device_pipeline(poison=(1,)), optimizer__schedule="exponential", optimizer__decay_rate=0.9)
    with_bad, _, _ = run(state, 2)
    without, run = prepare(device_pipeline(poison=(1,)), optimizer__schedule="exponential", optimizer__decay_rate=0.9)
    without, _, _ = run(without, 1)
    chex.assert_trees_all_equal(host(with_bad.params), host(without.params))
    chex.assert_trees_all_equal(host(with_bad.opt_state), host(without.opt_state))


@pytest.mark.parametrize("value", [np.nan, 1e30])
def test_bad_gradient_of_a_finite_loss(value):
    """1e30 is finite, but its square is not, and squares are what the optimizer averages."""
    model = toy_model()

    @jax.custom_vjp
    def spoil(weight):
        return weight

    spoil.defvjp(lambda weight: (weight, None), lambda _, g: (g.at[0, 0].set(value),))

    def loss(params, key, batch):
        flow = {**params["flow"], "weight": spoil(params["flow"]["weight"])}
        return model.loss({**params, "flow": flow}, key, batch)

    state, run = prepare(model=model._replace(loss=loss))
    before = host(state)
    state, _, losses = run(state, 1)
    assert np.isfinite(losses).all()
    assert int(state.num_skipped) == 1
    chex.assert_trees_all_equal(host((state.params, state.opt_state)), (before.params, before.opt_state))


def test_moving_average():
    state, run = prepare(optimizer__ema_decay=0.9)
    average = host(state.params["flow"]["weight"]).astype(np.float64)
    for n in range(1, 13):
        state, _, _ = run(state, 1, start=n - 1)
        weight = 1 - min(0.9, (1 + n) / (10 + n))
        average = average + weight * (np.float64(state.params["flow"]["weight"]) - average)
    np.testing.assert_allclose(evaluation_params(state)["flow"]["weight"], average, rtol=2e-6, atol=1e-7)
    state, _ = prepare()
    assert evaluation_params(state) is state.params


def test_randomness_is_a_function_of_key_and_step():
    key = jax.random.key(5)
    first, second = named_keys(key, 0), named_keys(key, 1)
    data = [jax.random.key_data(k).tobytes() for k in (*first, *second)]
    assert len(set(data)) == 4
    chex.assert_trees_all_equal(
        jax.random.key_data(named_keys(key, jnp.int32(1)).loss), jax.random.key_data(second.loss)
    )


def test_transform_acts_on_the_batch():
    def darken(key, batch, step):
        return batch._replace(x_set=jnp.zeros_like(batch.x_set))

    plain, run_plain = prepare()
    dark, run_dark = prepare(transform=darken)
    _, _, plain_losses = run_plain(plain, 1)
    _, _, dark_losses = run_dark(dark, 1)
    assert not np.allclose(plain_losses, dark_losses)


@pytest.mark.usefixtures("two_devices")
def test_place_inputs_spreads_sets_and_copies_scalars():
    mesh = make_mesh(jax.devices()[:2])
    inputs = {"x": np.arange(NUM_SETS * 3, dtype=np.int32).reshape(NUM_SETS, 3), "step": np.int32(4)}
    placed = place_inputs(mesh, inputs)
    chex.assert_trees_all_equal(host(placed), inputs)
    assert {shard.data.shape for shard in placed["x"].addressable_shards} == {(NUM_SETS // 2, 3)}
    assert placed["step"].sharding.is_fully_replicated
    stacked = place_stacked_inputs(mesh, [inputs, inputs, inputs])
    assert {shard.data.shape for shard in stacked["x"].addressable_shards} == {(3, NUM_SETS // 2, 3)}
    np.testing.assert_array_equal(stacked["step"], [4, 4, 4])

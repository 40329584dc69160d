"""The loop in one process: files, evaluation, best checkpoint, stopping, divergence, resuming."""

import json
import os
import re
import signal
import threading

import chex
import jax
import numpy as np
import pytest

from exflow.errors import UserError
from exflow.training.checkpoint_format import list_steps, read_checkpoint
from exflow.training.history import TrainingDiverged
from exflow.training.sharding import make_mesh
from tests.training.both_pipelines import BOTH_PIPELINES
from tests.training.toy import device_pipeline, fit, toy_config, toy_model


def run(workdir, pipeline=None, model=None, evaluate=None, num_devices=1, **overrides):
    mesh = make_mesh(jax.devices()[:num_devices])
    return fit(
        toy_config(**overrides),
        workdir,
        model or toy_model(),
        pipeline or device_pipeline(),
        evaluate=evaluate,
        mesh=mesh,
    )


def lines(workdir, split="train"):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["split"] == split]


def host(tree):
    return jax.tree.map(np.array, tree)


def test_a_run_and_its_files(tmp_path, capsys):
    result = run(tmp_path / "run")
    assert result.finished
    assert (result.step, int(result.state.step)) == (20, 20)
    assert 0 < result.wall_seconds < 60
    assert list_steps(tmp_path / "run" / "checkpoints") == [15, 20]
    rows = lines(tmp_path / "run")
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    assert all(np.isfinite(value) for row in rows for value in row.values() if not isinstance(value, str))
    assert {"loss", "nll", "grad_norm", "learning_rate", "num_skipped", "examples_per_second"} <= set(rows[0])
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["training"]["num_steps"] == 20
    output = capsys.readouterr().out.splitlines()
    assert output[0].startswith("toy: 304 parameters; 1 x cpu; 40 images a step (device); starting of 20 in ")
    assert re.match(r"step 5/20 .* loss .* images/s$", output[1])
    _, meta = read_checkpoint(tmp_path / "run" / "checkpoints" / "20")
    assert meta["config"]["data"]["set_size"] == 5
    assert meta["image_shape"] == [4, 4, 1]


def test_logged_values_are_means_over_the_interval(tmp_path):
    run(tmp_path / "every", training__log_every=1, training__num_steps=6)
    run(tmp_path / "third", training__log_every=3, training__num_steps=6)
    every = [row["loss"] for row in lines(tmp_path / "every")]
    third = [row["loss"] for row in lines(tmp_path / "third")]
    np.testing.assert_allclose(third, [np.mean(every[:3]), np.mean(every[3:])], rtol=1e-12)


@pytest.mark.parametrize("pipeline", BOTH_PIPELINES)
def test_stopping_and_resuming_equals_one_run(tmp_path, pipeline):
    """The time budget is up at once: one call per run. Every bit of the state agrees, and no line is written twice."""
    options = {"optimizer__ema_decay": 0.9, "optimizer__name": "adam", "training__steps_per_call": 6}
    whole = run(tmp_path / "whole", pipeline, **options)
    steps = []
    for _ in range(20):
        part = run(tmp_path / "parts", pipeline, training__time_budget_seconds=1e-9, **options)
        steps.append(part.step)
        if part.finished:
            break
    assert steps == [6, 12, 18, 20]
    chex.assert_trees_all_equal(host(part.state), host(whole.state))
    assert [row["step"] for row in lines(tmp_path / "parts")] == steps
    again = run(tmp_path / "parts", pipeline, **options)  # a finished run stays as it is
    assert again.finished
    chex.assert_trees_all_equal(host(again.state), host(whole.state))
    assert [row["step"] for row in lines(tmp_path / "parts")] == steps


@pytest.mark.usefixtures("two_devices")
def test_checkpoint_of_two_devices_goes_on_on_one(tmp_path):
    first = run(tmp_path, num_devices=2, training__num_steps=10)
    assert len(first.state.params["flow"]["bias"].sharding.device_set) == 2
    second = run(tmp_path, num_devices=1, training__num_steps=20)
    assert len(second.state.params["flow"]["bias"].sharding.device_set) == 1
    whole = run(tmp_path / "whole", num_devices=2)
    chex.assert_trees_all_close(host(second.state), host(whole.state), rtol=1e-6, atol=1e-6)


def test_evaluation_and_the_best_checkpoint(tmp_path, capsys):
    """Validation is best at step 8, between two regular checkpoints."""
    scores = {4: 3.0, 8: 1.0, 12: 2.0, 16: 2.0, 20: float("nan")}
    seen = []

    def evaluate(state, step):
        assert int(state.step) == step
        seen.append(step)
        return {"nll": scores[step], "accuracy": 0.5}

    result = run(tmp_path, evaluate=evaluate, training__evaluate_every=4, training__keep_checkpoints=1)
    assert seen == [4, 8, 12, 16, 20]
    assert list_steps(tmp_path / "checkpoints") == [8, 20]
    assert result.checkpoints.best_step() == 8
    rows = lines(tmp_path, "validation")
    assert [(row["step"], row["nll"]) for row in rows] == [(4, 3.0), (8, 1.0), (12, 2.0), (16, 2.0), (20, None)]
    assert "step 8 validation  nll 1  accuracy 0.5" in capsys.readouterr().out


def test_an_interrupted_evaluation_is_made_up_for(tmp_path):
    """The run stops where an evaluation is due: the next run evaluates at its first opportunity."""
    seen = []
    options = {"training__evaluate_every": 4, "training__num_steps": 8, "training__steps_per_call": 4}

    def record(state, step):
        seen.append(step)
        return {}

    run(tmp_path, evaluate=record, training__time_budget_seconds=1e-9, **options)
    assert seen == []
    run(tmp_path, evaluate=record, **options)
    assert seen == [8]


def test_non_finite_steps_are_skipped_and_counted(tmp_path):
    result = run(tmp_path, device_pipeline(poison=(6, 7, 11)), training__max_nonfinite_steps=3)
    assert result.finished
    assert int(result.state.num_skipped) == 3
    rows = lines(tmp_path)
    assert [row["num_skipped"] for row in rows] == [0, 2, 3, 3]
    assert all(row["loss"] is not None for row in rows)


def test_too_many_non_finite_steps_stop_training(tmp_path):
    pipeline = device_pipeline(poison=tuple(range(7, 20)))
    for _ in range(2):  # the same command ends the same way
        with pytest.raises(TrainingDiverged) as caught:
            run(tmp_path, pipeline, training__max_nonfinite_steps=4, training__log_every=6)
        message = str(caught.value)
        assert "not finite in steps 7 to 10 (from 0; batch seed 0)" in message
        assert f"last good checkpoint: {tmp_path}/checkpoints/10" in message
        assert "\n" not in message
        assert isinstance(caught.value, UserError)
    assert list_steps(tmp_path / "checkpoints") == [5, 10]  # written after three bad steps, its parameters are good
    arrays, _ = read_checkpoint(tmp_path / "checkpoints" / "10")
    chex.assert_tree_all_finite(arrays)


def test_a_row_of_bad_steps_across_a_resume_counts_in_full(tmp_path):
    pipeline = device_pipeline(poison=tuple(range(3, 20)))
    options = {"training__max_nonfinite_steps": 6, "training__steps_per_call": 3}
    part = run(tmp_path, pipeline, training__time_budget_seconds=1e-9, **options)
    part = run(tmp_path, pipeline, training__time_budget_seconds=1e-9, **options)
    assert (part.step, int(part.state.num_skipped_in_a_row)) == (6, 3)
    with pytest.raises(TrainingDiverged, match="steps 3 to 8"):
        run(tmp_path, pipeline, **options)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_signals_save_and_stop(tmp_path, capsys, name):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    def evaluate(state, step):
        os.kill(os.getpid(), getattr(signal, name))
        return {}

    result = run(tmp_path, evaluate=evaluate, training__evaluate_every=6, training__checkpoint_every=0)
    assert not result.finished
    assert result.reason == name
    assert result.step == 7  # the signal came after step 6; the call that followed was finished
    assert list_steps(tmp_path / "checkpoints") == [7]
    assert f"stopped at step 7 of 20 ({name}) and saved: the same command resumes." in capsys.readouterr().out
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert run(tmp_path).finished


def test_second_interrupt_aborts(tmp_path):
    def evaluate(state, step):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return {}

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, evaluate=evaluate, training__evaluate_every=6)
    assert list_steps(tmp_path / "checkpoints") == [5]
    assert run(tmp_path).finished  # and the lock is free again


def test_works_outside_the_main_thread(tmp_path):
    results = []
    thread = threading.Thread(target=lambda: results.append(run(tmp_path)))
    thread.start()
    thread.join()
    assert results[0].finished


def test_other_configuration_or_model_in_the_same_directory(tmp_path):
    run(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"}
    with pytest.raises(UserError, match=r"optimizer\.learning_rate: 0\.01 -> 0\.5"):
        run(tmp_path, optimizer__learning_rate=0.5)
    with pytest.raises(
        UserError, match=r"flow/weight: checkpoint has float32\[16, 16\], config needs float32\[16, 3\]"
    ):
        run(tmp_path, model=toy_model(units=3))
    assert {path: path.read_bytes() for path in before} == before


def test_damaged_checkpoint_is_replaced_by_the_previous(tmp_path, capsys):
    whole = run(tmp_path)
    (tmp_path / "checkpoints" / "20" / "meta" / "metadata").write_text("garbage")
    again = run(tmp_path)
    assert "checkpoint 20 in " in capsys.readouterr().out
    chex.assert_trees_all_equal(host(again.state), host(whole.state))
    assert [row["step"] for row in lines(tmp_path)] == [5, 10, 15, 20]


def test_training_time_adds_up_over_runs(tmp_path):
    run(tmp_path, training__num_steps=10)
    result = run(tmp_path, training__num_steps=20, training__keep_checkpoints=3)
    _, first = read_checkpoint(tmp_path / "checkpoints" / "10")
    _, second = read_checkpoint(tmp_path / "checkpoints" / "20")
    assert 0 < first["wall_seconds"] < second["wall_seconds"] <= result.wall_seconds
    assert 0 < first["cpu_seconds"] < second["cpu_seconds"] <= result.cpu_seconds

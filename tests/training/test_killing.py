"""Programs that are killed, and programs that train together."""

import json
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from exflow.training.sharding import make_mesh
from tests.training.toy import arrays_by_name, device_pipeline, fit, host_pipeline, toy_config, toy_model

TOY = Path(__file__).with_name("toy.py")


def command(workdir, *options):
    return [sys.executable, "-W", "error", str(TOY), str(workdir), *options]


def final(workdir):
    with np.load(workdir / "final.npz", allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def kill_after_a_while(process, seed):
    """SIGKILL at a random moment after the second checkpoint has been started."""
    for line in process.stdout:
        if line.startswith("step 10/"):
            break
    delay = random.Random(seed).uniform(0.0, 0.4)
    print(f"kill after {delay:.3f} s")
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()


@pytest.fixture
def whole(tmp_path):
    """Trains in this process, without interruption: (pipeline, options of toy_config) -> final state by name."""

    def train(pipeline, num_devices, **options):
        pipeline = device_pipeline() if pipeline == "device" else host_pipeline()
        mesh = make_mesh(jax.devices()[:num_devices])
        result = fit(toy_config(**options), tmp_path / "whole", toy_model(), pipeline, mesh=mesh)
        return arrays_by_name(result.state)

    return train


@pytest.mark.slow
@pytest.mark.usefixtures("two_devices")
@pytest.mark.parametrize("pipeline", ["device", "tfdata"])
def test_killed_and_run_again_ends_bit_for_bit_the_same(tmp_path, program_environment, whole, pipeline):
    """Killed at a moment that differs in every run of this test: whatever it hits, the end must be the same."""
    options = {"training.num_steps": 60, "training.steps_per_call": 2, "training.checkpoint_every": 2}
    options |= {"optimizer.ema_decay": 0.9, "optimizer.name": "adam"}
    arguments = [
        f"pipeline={pipeline}",
        "training.num_devices=2",
        *(f"{key}={value}" for key, value in options.items()),
    ]
    process = subprocess.Popen(
        command(tmp_path / "killed", *arguments, "pause=0.02"),
        env=program_environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    kill_after_a_while(process, time.time_ns())
    assert not (tmp_path / "killed" / "final.npz").exists()
    again = subprocess.run(
        command(tmp_path / "killed", *arguments), env=program_environment, capture_output=True, text=True, check=True
    )
    assert "resuming at step" in again.stdout
    expected = whole(pipeline, 2, **{key.replace(".", "__"): value for key, value in options.items()})
    actual = final(tmp_path / "killed")
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        assert value.tobytes() == actual[name].tobytes(), name


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", ["device", "tfdata"])
def test_two_processes_train_what_one_does(tmp_path, program_environment, whole, pipeline):
    """Over the loopback interface by gloo; in one case they go on from a checkpoint that one process made."""
    options = {"training__num_steps": 12, "training__log_every": 3}
    expected = whole(pipeline, 1, **options)
    if pipeline == "device":
        config = toy_config(**options, training__time_budget_seconds=1e-9, training__steps_per_call=5)
        fit(config, tmp_path / "two", toy_model(), device_pipeline(), mesh=make_mesh(jax.devices()[:1]))
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    arguments = [f"pipeline={pipeline}", *(f"{key.replace('__', '.')}={value}" for key, value in options.items())]
    environment = {**program_environment, "EXFLOW_COORDINATOR": f"localhost:{port}", "EXFLOW_NUM_PROCESSES": "2"}
    processes = [
        subprocess.Popen(
            command(tmp_path / "two", *arguments),
            env={**environment, "EXFLOW_PROCESS_ID": str(index)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert ("resuming at step 5" in outputs[0][0]) == (pipeline == "device")
    assert "step" not in outputs[1][0]  # only the first one talks (and gloo)
    actual = final(tmp_path / "two")
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=1e-6, atol=1e-6, err_msg=name)
    lines = (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == ([5, 6, 9, 12] if pipeline == "device" else [3, 6, 9, 12])

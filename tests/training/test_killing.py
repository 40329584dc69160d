"""Programs that are killed, and programs that train together."""

import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

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


@pytest.mark.parametrize("pipeline", ["device", "tfdata"])
def test_killed_and_run_again_ends_bit_for_bit_the_same(tmp_path, program_environment, pipeline):
    """Killed at a moment that differs in every run of this test: whatever it hits, the end must be the same."""
    options = (
        *(f"pipeline={pipeline}", "training.num_steps=60", "training.num_devices=2", "training.steps_per_call=2"),
        *("training.checkpoint_every=2", "optimizer.ema_decay=0.9", "optimizer.name=adam"),
    )
    seed = time.time_ns()
    whole = subprocess.Popen(
        command(tmp_path / "whole", *options), env=program_environment, stdout=subprocess.DEVNULL
    )
    process = subprocess.Popen(
        command(tmp_path / "killed", *options, "pause=0.02"),
        env=program_environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    kill_after_a_while(process, seed)
    assert not (tmp_path / "killed" / "final.npz").exists()
    again = subprocess.run(
        command(tmp_path / "killed", *options), env=program_environment, capture_output=True, text=True, check=True
    )
    assert whole.wait() == 0
    assert "resuming at step" in again.stdout
    expected, actual = final(tmp_path / "whole"), final(tmp_path / "killed")
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        assert value.tobytes() == actual[name].tobytes(), name


@pytest.mark.parametrize("pipeline", ["device", "tfdata"])
def test_two_processes_train_what_one_does(tmp_path, program_environment, pipeline):
    """Over the loopback interface by gloo, stopped once by the time budget and resumed."""
    options = (f"pipeline={pipeline}", "training.num_steps=12", "training.log_every=6")
    one = subprocess.Popen(
        command(tmp_path / "one", *options), env=program_environment, stdout=subprocess.DEVNULL
    )
    for stop in ("training.time_budget_seconds=1e-9", "training.time_budget_seconds=0"):
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            port = probe.getsockname()[1]
        processes = []
        for index in range(2):
            distributed = {
                "EXFLOW_COORDINATOR": f"localhost:{port}",
                "EXFLOW_NUM_PROCESSES": "2",
                "EXFLOW_PROCESS_ID": str(index),
            }
            processes.append(
                subprocess.Popen(
                    command(tmp_path / "two", *options, stop),
                    env=program_environment | distributed,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    assert one.wait() == 0
    expected, actual = final(tmp_path / "one"), final(tmp_path / "two")
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=1e-6, atol=1e-6, err_msg=name)
    steps = [line.split('"step": ')[1].split(",")[0] for line in (tmp_path / "two" / "metrics.jsonl").open()]
    assert steps == ["6", "12"]

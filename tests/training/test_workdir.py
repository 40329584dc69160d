"""One run per working directory at a time, and one configuration for all of them."""

import errno
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import types

import pytest

from exflow.config import to_json
from exflow.errors import UserError
from exflow.training import file_lock
from exflow.training.workdir import locked_workdir, store_config
from tests.training.toy import toy_config

HOLD = """
import sys, time
from pathlib import Path
from exflow.training.workdir import locked_workdir
with locked_workdir(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_lock_is_exclusive_and_dies_with_its_process(tmp_path, program_environment):
    workdir = tmp_path / "new" / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(workdir)], stdout=subprocess.PIPE, text=True, env=program_environment
    ) as holder:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(UserError, match=rf"another run \(process {holder.pid}\) is using it"):
            locked_workdir(workdir).__enter__()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with locked_workdir(workdir):
        assert (workdir / "lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(UserError, match="another run"):
            locked_workdir(workdir).__enter__()
    with locked_workdir(workdir):
        pass


def test_unwritable(tmp_path):
    (tmp_path / "file").write_text("content")
    with pytest.raises(UserError, match=r"file/run: cannot be written \(Not a directory\)\. Choose another --workdir"):
        locked_workdir(tmp_path / "file" / "run").__enter__()
    assert (tmp_path / "file").read_text() == "content"
    with pytest.raises(UserError, match="cannot be written"):
        locked_workdir(tmp_path / "file").__enter__()


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may write everywhere")
def test_read_only_folder(tmp_path):
    (tmp_path / "run").mkdir(mode=0o500)
    with pytest.raises(UserError, match=r"cannot be written \(Permission denied\)"):
        locked_workdir(tmp_path / "run").__enter__()


def test_config_is_stored_and_checked(tmp_path):
    config = toy_config()
    store_config(config, tmp_path, step=0)
    assert (tmp_path / "config.json").read_text() == to_json(config)
    longer = toy_config(training__num_steps=1000, training__time_budget_seconds=5.0, evaluation__num_trials=3)
    store_config(longer, tmp_path, step=20)  # these may change
    stored = (tmp_path / "config.json").read_text()
    assert json.loads(stored)["training"]["num_steps"] == 1000
    other = toy_config(model__bruno__filters=3, data__rotate=False, optimizer__learning_rate=0.5, training__seed=4)
    with pytest.raises(UserError) as caught:
        store_config(other, tmp_path, step=20)
    for difference in (
        "model.bruno.filters: 64 -> 3",
        "data.rotate: true -> false",
        "optimizer.learning_rate: 0.01 -> 0.5",
        "training.seed: 0 -> 4",
    ):
        assert difference in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "config.json").read_text() == stored
    store_config(other, tmp_path, step=0)  # nothing to protect


def test_many_differences(tmp_path):
    store_config(toy_config(), tmp_path, step=0)
    stored = json.loads((tmp_path / "config.json").read_text())
    stored["model"]["bruno"]["filters"] = -1
    for name in ("sets_per_batch", "set_size", "image_size", "min_set_size", "downscale"):
        stored["data"][name] = -1
    stored["data"]["pipeline"] = "none"
    (tmp_path / "config.json").write_text(json.dumps(stored))
    with pytest.raises(UserError, match=r"data\.downscale: -1 -> 1.*; and 1 more\)") as caught:
        store_config(toy_config(), tmp_path, step=20)
    assert "model.bruno.filters" not in str(caught.value)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="not readable as a configuration"):
        store_config(toy_config(), tmp_path, step=20)


def test_lock_is_taken_quickly_after_a_crash(tmp_path):
    """No waiting for a stale lock file: the file may stay, the lock does not."""
    (tmp_path / "lock").write_text("999999\n")
    start = time.monotonic()
    with locked_workdir(tmp_path):
        assert time.monotonic() - start < 1


def test_keys_that_an_older_run_lacks_have_their_defaults(tmp_path):
    config = toy_config()
    stored = json.loads(to_json(config))
    del stored["objective"]["ways"]
    (tmp_path / "config.json").write_text(json.dumps(stored))
    store_config(config, tmp_path, step=20)
    changed = toy_config(objective__ways=(4,))
    with pytest.raises(UserError, match=r"objective.ways: \[0\] -> \[4\]"):
        store_config(changed, tmp_path, step=20)


@pytest.mark.parametrize("schedule", ["constant", "exponential", "cosine", "milestones"])
def test_only_a_schedule_that_does_not_end_with_training_can_be_lengthened(tmp_path, schedule):
    def store(num_steps, step):
        store_config(toy_config(optimizer__schedule=schedule, training__num_steps=num_steps), tmp_path, step)
        return json.loads((tmp_path / "config.json").read_text())["training"]["num_steps"]

    assert store(80, step=0) == 80
    assert store(80, step=80) == 80
    with pytest.raises(UserError, match=r"num_steps: expected at least 60, the steps that .* has made, got 40\."):
        store(40, step=60)
    for num_steps in (160, 70):
        if schedule == "cosine":
            with pytest.raises(UserError, match=rf"expected 80, on which the cosine .* got {num_steps}\. .*finetune"):
                store(num_steps, step=60)
            assert store(80, step=60) == 80
        else:
            assert store(num_steps, step=60) == num_steps


def test_the_starting_point_of_a_run_stays_on_record(tmp_path):
    store_config(toy_config(training__init_from="runs/a"), tmp_path, step=0)
    with pytest.raises(UserError, match=r'training.init_from: "runs/a" -> ""'):
        store_config(toy_config(), tmp_path, step=5)


@pytest.fixture
def windows(monkeypatch):
    """Locks of another system: no fcntl, and bytes that one file at a time may hold. Yields who holds what."""
    held = {}

    def locking(descriptor, mode, number):
        where = os.fstat(descriptor).st_ino, os.lseek(descriptor, 0, os.SEEK_CUR), number
        if held.setdefault(where, descriptor) != descriptor:
            raise OSError(errno.EACCES, "Permission denied")

    for name in ("pread", "pwrite", "O_CLOEXEC"):
        monkeypatch.delattr(os, name)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2))
    importlib.reload(file_lock)
    yield held
    monkeypatch.undo()
    importlib.reload(file_lock)


def test_lock_without_fcntl(windows, tmp_path, monkeypatch):
    with locked_workdir(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
        ((_, position, _),) = windows
        assert position >= 64  # the process that holds the lock can still be read
        with pytest.raises(UserError, match=rf"another run \(process {os.getpid()}\) is using it"):
            locked_workdir(tmp_path).__enter__()
    windows.clear()
    monkeypatch.setattr(file_lock, "msvcrt", None)  # neither
    with locked_workdir(tmp_path), locked_workdir(tmp_path):
        pass

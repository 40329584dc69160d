"""One run per working directory at a time, and one configuration for all of them."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from exflow.config import to_json
from exflow.errors import UserError
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


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(tmp_path):
    (tmp_path / "run").mkdir(mode=0o500)
    with pytest.raises(UserError, match=r"cannot be written \(Permission denied\)"):
        locked_workdir(tmp_path / "run").__enter__()


def test_config_is_stored_and_checked(tmp_path):
    config = toy_config()
    store_config(config, tmp_path, has_progress=False)
    assert (tmp_path / "config.json").read_text() == to_json(config)
    longer = toy_config(training__num_steps=1000, training__time_budget_seconds=5.0, evaluation__num_trials=3)
    store_config(longer, tmp_path, has_progress=True)  # these may change
    stored = (tmp_path / "config.json").read_text()
    assert json.loads(stored)["training"]["num_steps"] == 1000
    other = toy_config(model__bruno__filters=3, data__rotate=False, optimizer__learning_rate=0.5, training__seed=4)
    with pytest.raises(UserError) as caught:
        store_config(other, tmp_path, has_progress=True)
    for difference in (
        "model.bruno.filters: 64 -> 3",
        "data.rotate: true -> false",
        "optimizer.learning_rate: 0.01 -> 0.5",
        "training.seed: 0 -> 4",
    ):
        assert difference in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "config.json").read_text() == stored
    store_config(other, tmp_path, has_progress=False)  # nothing to protect


def test_many_differences(tmp_path):
    store_config(toy_config(), tmp_path, has_progress=False)
    stored = json.loads((tmp_path / "config.json").read_text())
    stored["model"]["bruno"]["filters"] = -1
    for name in ("sets_per_batch", "set_size", "image_size", "min_set_size", "downscale"):
        stored["data"][name] = -1
    stored["data"]["pipeline"] = "none"
    (tmp_path / "config.json").write_text(json.dumps(stored))
    with pytest.raises(UserError, match=r"data\.downscale: -1 -> 1.*; and 1 more\)") as caught:
        store_config(toy_config(), tmp_path, has_progress=True)
    assert "model.bruno.filters" not in str(caught.value)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="not readable as a configuration"):
        store_config(toy_config(), tmp_path, has_progress=True)


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
    store_config(config, tmp_path, has_progress=True)
    changed = toy_config(objective__ways=(4,))
    with pytest.raises(UserError, match=r"objective.ways: \[0\] -> \[4\]"):
        store_config(changed, tmp_path, has_progress=True)

"""Every config's `:smoke` variant: the command a user types, from data to results."""

import json
import subprocess
import sys

import pytest

from exflow.config import available_configs


@pytest.mark.slow
@pytest.mark.parametrize("name", available_configs())
def test_smoke_variant_runs_the_whole_pipeline(name, repository, tmp_path, request):
    if "omniglot" in name:
        request.getfixturevalue("omniglot_available")
    command = [sys.executable, "-m", "exflow.main", f"--config=configs/{name}.py:smoke", f"--workdir={tmp_path}"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["config"]["variant"] == "smoke"
    assert 0 < results["step"] <= results["config"]["training"]["num_steps"]  # the best checkpoint
    assert {"value", "unit", "protocol", "published"} <= set(next(iter(results["results"].values())))
    splits = {json.loads(line)["split"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()}
    assert splits >= {"train", "validation"}
    assert list((tmp_path / "samples").glob("*.png"))
    assert list((tmp_path / "checkpoints").iterdir())
    assert "published" in done.stdout  # the closing table

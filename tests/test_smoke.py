"""Every config's `:smoke` variant: the command a user types, from data to results."""

import json
import subprocess
import sys

import pytest

from exflow.config import available_configs, load_config
from tests.conftest import need_tfds

FROM_TFDS = {"omniglot": "omniglot", "fashion_mnist": "fashion_mnist", "cifar10": "cifar10"}
FROM_TFDS |= {"mnist": "mnist", "mnist_even_odd": "mnist"}


@pytest.mark.slow
@pytest.mark.parametrize("name", available_configs())
def test_smoke_variant_runs_the_whole_pipeline(name, repository, tmp_path):
    data_set = load_config(f"{name}:smoke").data.dataset
    if data_set in FROM_TFDS:
        need_tfds(FROM_TFDS[data_set])
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

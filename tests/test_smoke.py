"""Every config's `:smoke` variant: the command a user types, from data to results."""

import json
import math
import subprocess
import sys

import pytest

from exflow.config import available_configs, load_config
from tests.conftest import need_tfds

FROM_TFDS = {"omniglot": "omniglot", "fashion_mnist": "fashion_mnist", "cifar10": "cifar10"}
FROM_TFDS |= {"mnist": "mnist", "mnist_even_odd": "mnist", "spatial_mnist": "mnist", "omniglot_ns": "omniglot"}
SET_VAES = ("vae", "ns", "ns_lag", "hfsgm", "hfsgm_lag", "cns", "cns_lag", "chfsgm", "chfsgm_lag", "scha", "scha_lag")
SMOKE = [(name, "smoke") for name in available_configs()]
SMOKE += [("set_vae_omniglot", f"smoke_{name}") for name in SET_VAES]
SMOKE += [("lbae_mnist", "smoke_vae"), ("lbae_mnist", "smoke_rae")]
SMOKE += [("bruno_omniglot_finetune", "smoke_bundled")]
MODES = {"smoke_bundled": ["--mode=finetune", "--config.training.init_from=bruno_omniglot"]}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), SMOKE)
def test_smoke_variant_runs_the_whole_pipeline(name, variant, repository, tmp_path):
    data_set = load_config(f"{name}:{variant}").data.dataset
    if data_set in FROM_TFDS:
        need_tfds(FROM_TFDS[data_set])
    command = [sys.executable, "-m", "exflow.main", f"--config=configs/{name}.py:{variant}", f"--workdir={tmp_path}"]
    command += MODES.get(variant, [])
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["config"]["variant"] == variant
    assert 0 < results["step"] <= results["config"]["training"]["num_steps"]  # the best checkpoint
    for entry in results["results"].values():
        assert {"value", "unit", "protocol", "published"} <= set(entry)
        assert math.isfinite(entry["value"])
    splits = {json.loads(line)["split"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()}
    assert splits >= {"train", "validation"}
    assert list((tmp_path / "samples").glob("*.png"))
    assert list((tmp_path / "checkpoints").iterdir())
    assert "published" in done.stdout  # the closing table

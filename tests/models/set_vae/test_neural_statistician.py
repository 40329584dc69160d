"""The Neural Statistician's own experiments: published sizes and settings, and what a small one learns in a minute."""

import json
import os
import subprocess
import sys

import pytest

from exflow.config import load_config
from exflow.data.sources.distributions import REFERENCE
from exflow.models.registry import build, num_parameters, params_like

COUNTS = {  # trainable parameters of the original code
    "neural_statistician_synthetic": ((1, 1, 1), 296_462),
    "neural_statistician_spatial": ((1, 1, 2), 2_287_786),
    "neural_statistician_omniglot": ((28, 28, 1), 8_370_247),
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_count(name):
    image_shape, published = COUNTS[name]
    config = load_config(name)
    assert num_parameters(params_like(build(config, image_shape), config)) == published


@pytest.mark.parametrize(
    ("name", "sets", "set_size", "dims", "epochs"),
    [
        ("neural_statistician_synthetic", 16, 200, (3, 32), 50),
        ("neural_statistician_spatial", 64, 50, (64, 2), 100),
        ("neural_statistician_omniglot", 32, 5, (512, 16), 300),
    ],
)
def test_training_is_the_published_one(name, sets, set_size, dims, epochs):
    config = load_config(name)
    objective, optimizer, model = config.objective, config.optimizer, config.model.set_vae
    assert (config.data.sets_per_batch, config.data.set_size) == (sets, set_size)
    assert (model.set_latent_dim, model.latent_dim) == dims
    assert config.training.num_steps == epochs * objective.epoch_steps
    assert (objective.alpha, objective.alpha_decay) == (1.0, 0.5)
    assert (optimizer.name, optimizer.learning_rate, optimizer.clip_value) == ("adam", 1e-3, 0.5)


@pytest.mark.slow
def test_a_small_model_beats_one_density_for_all_sets(repository, tmp_path):
    """Three seeds gave -1.67 +- 0.01 nats per number at 40 CPU seconds; the test sets alone vary by 0.011."""
    command = [sys.executable, "-m", "exflow.main", "--config=configs/neural_statistician_synthetic.py:cpu"]
    command += ["--config.training.num_steps=1000", "--config.training.num_devices=1", f"--workdir={tmp_path}"]
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}  # optimised code
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "results.json").read_text())["results"]
    assert set(found) == {"test_nll", "test_nll_prior"}
    assert found["test_nll"]["unit"] == "nats/element"
    assert "1000 sets of 200 test elements" in found["test_nll"]["protocol"]
    low, high = REFERENCE["easy"]["pooled"] + 0.08, REFERENCE["easy"]["oracle"]  # a bound beats no true law
    assert low < -found["test_nll"]["value"] < high
    assert {path.name for path in (tmp_path / "samples").iterdir()} == {"conditional.png", "prior.png"}

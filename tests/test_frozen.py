"""What the last version wrote still opens, evaluates and resumes, also by the commands of that version."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import exflow
from exflow import main
from exflow.config import load_config

FROZEN = Path(__file__).parent / "frozen"
VARYING = {"examples_per_second"}  # of lines of metrics.jsonl
SHORT = ("training.num_steps=4", "training.log_every=2", "training.num_devices=1", "training.keep_checkpoints=1")
COMMANDS = {  # with the names that keys had then
    "bruno": (
        "configs/bruno_glyphs.py:smoke",
        "data.image_size=8",
        "data.downscale=1",
        "data.options=num_train=20, num_validation=20, num_test=20",
        "data.sets_per_batch=5",
        "data.set_size=6",
        "model.dense_units=8",
        "optimizer.process_freeze_steps=0",
        "objective.num_context=0",
        *SHORT,
    ),
    "set_vae": (
        "configs/neural_statistician_synthetic.py:smoke",
        "model.set_vae.hidden=8",
        "model.set_vae.latent_dim=4",
        "model.set_vae.num_blocks=1",
        "model.set_vae.block_depth=1",
        "model.set_vae.context_dim=3",
        "model.set_vae.level_loop=auto",
        "training.quick_compilation=False",  # as it was then
        *SHORT,
    ),
}


@pytest.fixture(params=COMMANDS)
def frozen(request, tmp_path):
    """Name and a copy of a frozen working directory."""
    return request.param, shutil.copytree(FROZEN / request.param, tmp_path / "run")


def run(name, workdir, mode, *overrides):
    """The command of the last version, in this process."""
    config, *given = COMMANDS[name]
    flags = [f"--config.{override}" for override in (*given, *overrides)]
    main.main([f"--config={config}", f"--workdir={workdir}", f"--mode={mode}", *flags])


def test_it_opens_with_the_keys_of_its_own_family_under_their_present_names(frozen):
    name, workdir = frozen
    config = exflow.load(workdir).config
    assert set(config.model) == {"family", "compute_dtype", "block_loop", name}
    stored, (spec, *overrides) = json.loads((workdir / "config.json").read_text()), COMMANDS[name]
    assert set(stored["model"]) > {"filters", "set_vae"}  # the keys of both
    given = [(key, text) for key, _, text in (override.partition("=") for override in overrides)]
    assert config.to_dict() == load_config(spec, given).to_dict()


@pytest.mark.parametrize("frozen", ["bruno", pytest.param("set_vae", marks=pytest.mark.slow)], indirect=True)
def test_it_evaluates_to_the_same_results(frozen):
    name, workdir = frozen
    before = json.loads((workdir / "results.json").read_text())
    run(name, workdir, "evaluate")
    after = json.loads((workdir / "results.json").read_text())
    assert after["step"] == before["step"] == 4
    assert after["num_parameters"] == before["num_parameters"]
    for metric, old in before["results"].items():
        np.testing.assert_allclose(after["results"][metric]["value"], old["value"], rtol=1e-5, err_msg=metric)


@pytest.mark.slow
def test_it_resumes(frozen):
    """As if it had been stopped after 4 of 6 steps."""
    name, workdir = frozen
    stored = json.loads((workdir / "config.json").read_text())
    stored["training"]["num_steps"] = 6
    (workdir / "config.json").write_text(json.dumps(stored))
    before = (workdir / "metrics.jsonl").read_text()
    run(name, workdir, "train", "training.num_steps=6")
    after = (workdir / "metrics.jsonl").read_text()
    assert after.startswith(before)
    assert (workdir / "checkpoints" / "6").is_dir()
    found, old = map(_lines, (after.removeprefix(before), (workdir / "resumed.jsonl").read_text()))
    for now, then in zip(found, old, strict=True):
        assert now.keys() == then.keys()
        for key in then.keys() - VARYING:
            if isinstance(then[key], str):
                assert now[key] == then[key]
            else:
                np.testing.assert_allclose(now[key], then[key], rtol=1e-4, err_msg=key)


def _lines(text):
    return [json.loads(line) for line in text.splitlines()]

"""`--mode=finetune`: where it starts, what it refuses, and that it sees training classes alone."""

import jax
import numpy as np
import pytest

from exflow import finetuning, main, modes
from exflow.config import load_config
from exflow.data.registry import SPLITS
from exflow.errors import UserError
from exflow.loading import find
from exflow.training import inputs
from exflow.training.loop import fit
from exflow.training.setup import set_up

pytestmark = pytest.mark.slow  # many compilations

SMALL = {
    "data.dataset": "glyphs",
    "data.split": "standard",
    "data.image_size": 8,
    "data.downscale": 1,
    "data.resize": "bilinear",
    "model.bruno.scales": 0,
    "model.bruno.filters": 8,
    "model.bruno.residual_blocks": 1,
    "model.bruno.dense_units": 8,
    "model.bruno.dense_couplings": 2,
    "training.num_steps": 2,
    "training.evaluate_every": 0,
}


def overrides(**more):
    return [(key, str(value)) for key, value in {**SMALL, **more}.items()]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("source")
    modes.train(load_config("bruno_glyphs:smoke", overrides()), workdir)
    return workdir


def finetuning_config(source, **more):
    return load_config(
        "bruno_omniglot_finetune:smoke",
        overrides(**{"training.init_from": source, "model.bruno.bounded_features": True} | more),
    )


def test_starts_with_the_parameters_of_the_source(source):
    trained = find(source)
    warm_start = finetuning.start_from({k: v for k, v in trained.params.items() if k != "objective"}, "source")
    initial = jax.tree.map(lambda leaf: np.full(leaf.shape, 7, leaf.dtype), trained.params)
    params = warm_start(initial)
    for group in ("flow", "process"):
        jax.tree.map(np.testing.assert_array_equal, params[group], trained.params[group])
    assert params["objective"]["log_temperature"] == 7  # the source has none


def test_learning_goes_on_from_the_source(source, tmp_path):
    config = finetuning_config(source, **{"optimizer.learning_rate": 1e-30, "training.num_steps": 1})
    trained = find(source)
    with set_up(config, tmp_path, warm_start=finetuning.start_from(trained.params, "source")) as run:
        done = fit(run)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(done.state.params), jax.device_get(trained.params))


def test_refusals(source, tmp_path):
    with pytest.raises(UserError, match="init_from to a working directory or a bundled model, or train from scratch"):
        modes.finetune(finetuning_config(""), tmp_path)
    with pytest.raises(UserError, match="no working directory 'nowhere' and no bundled model"):
        modes.finetune(finetuning_config("nowhere"), tmp_path)
    config = finetuning_config(source, **{"model.bruno.dense_units": 9, "data.resize": "area"})
    with pytest.raises(UserError, match=r"bruno.dense_units: 9 here, 8 there; config.data.resize: 'area' here"):
        modes.finetune(config, tmp_path)
    with pytest.raises(UserError, match="is for --mode=finetune"):
        modes.train(finetuning_config(source), tmp_path)
    assert not list(tmp_path.iterdir())


def test_only_training_classes_reach_the_pipeline(omniglot_available):
    """The sets of the fine-tuning config come from the train split, which shares no class with validation and test."""
    config = load_config("bruno_omniglot_finetune:smoke")
    sets = inputs.load_data(config)
    train, validation, test = (set(sets[part].class_ids.tolist()) for part in SPLITS)
    assert (len(train), len(validation), len(test)) == (1028, 172, 423)
    assert not train & validation
    assert not train & test
    assert not validation & test
    pipeline = inputs.build_pipeline(config, sets["train"])
    images, index, _ = pipeline.resident[:3]
    assert len(index) == 1028
    for image in sets["test"].images[::500]:
        assert not (images == image).all(axis=(1, 2, 3)).any()


def test_the_command_line_knows_the_mode(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setitem(modes.MODES, "finetune", lambda config, workdir: calls.append((config, workdir)))
    main.main(["--config=bruno_omniglot_finetune:cpu", "--mode=finetune", f"--workdir={tmp_path}"])
    assert calls[0][0].objective.ways == (20, 5)
    assert calls[0][1] == tmp_path

"""Models that come with exflow: what ships, and that it is what its results describe."""

import json

import jax
import numpy as np
import pytest

import exflow
from exflow import finetuning, loading, modes
from exflow.config import from_json, load_config
from exflow.data import datasets
from exflow.data.registry import group_by_class
from exflow.errors import UserError
from exflow.evaluation import encoding
from exflow.evaluation.scoring import few_shot
from exflow.models.registry import build
from exflow.training.array_names import described, from_description, named_leaves

MAX_BYTES = 8 * 2**20


@pytest.mark.parametrize("name", loading.bundled_names())
def test_files(name):
    paths = [loading.BUNDLED / f"{name}{ending}" for ending in (".npz", ".json", ".results.json")]
    assert paths[0].stat().st_size <= MAX_BYTES
    with np.load(paths[0], allow_pickle=False) as stored:
        assert {stored[key].dtype.name for key in stored.files} <= {"float16", "float32"}
    description, results = (json.loads(path.read_text()) for path in paths[1:])
    assert results["bundled"] == name
    assert results["config"] == description["config"]
    assert results["step"] == description["info"]["step"]
    assert results["commit"]


@pytest.mark.slow
def test_characters_of_another_alphabet_are_told_apart():
    """Glyphs are no Omniglot: the bundled model has seen neither these characters nor their generator."""
    model = exflow.load("bruno_omniglot")
    test = datasets.load("glyphs", image_size=28)["test"]
    images = test.images[test.index[:20, :6]]
    images = model.preprocess(images.reshape(-1, 28, 28, 1), invert=False).reshape(20, 6, *model.image_shape)
    log_posterior = model.classify(images[:, :5], images[:, 5])
    assert (log_posterior.argmax(axis=1) == np.arange(20)).mean() >= 0.8
    np.testing.assert_allclose(np.exp(log_posterior).sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.slow
def test_results_are_those_of_the_files(omniglot_available):
    model = exflow.load("bruno_omniglot")
    results = json.loads((loading.BUNDLED / "bruno_omniglot.results.json").read_text())["results"]
    data = model.config.data
    test = datasets.load(data.dataset, image_size=data.image_size, resize=data.resize, split=data.split)["test"]
    elements = encoding.encode_split(
        model.core, model.params, jax.random.key(5), test, transform=encoding.downscaling(data.downscale)
    )
    accuracy = few_shot.few_shot_accuracy(model.core, model.params, elements, 20, 1, 2, seed=5).corrected.mean
    expected = results["few_shot/20way_1shot"]["value"] / 100
    deviation = np.sqrt(expected * (1 - expected) / (2 * 1692))
    assert abs(accuracy - expected) < 5 * deviation


def test_they_open_in_double_precision(x64):
    model = exflow.load("bruno_omniglot")
    with np.load(loading.BUNDLED / "bruno_omniglot.npz", allow_pickle=False) as stored:
        for name, leaf in named_leaves({"params": model.params}).items():
            np.testing.assert_array_equal(leaf, stored[name], err_msg=name)
    assert any(leaf.dtype == np.float64 for leaf in jax.tree.leaves(model.params))


@pytest.mark.parametrize("name", loading.bundled_names())
def test_their_structure_is_that_of_their_configuration(name):
    description = json.loads((loading.BUNDLED / f"{name}.json").read_text())
    config = from_json(json.dumps(description["config"]))
    like = loading.params_like(build(config, tuple(description["image_shape"])), config)
    assert described(like) == description["structure"]
    jax.tree.map(lambda a, b: None, from_description(description["structure"]), like)  # equal trees


@pytest.mark.slow
def test_the_command_that_made_one_evaluates_it_where_it_was_not_trained(tmp_path, monkeypatch, capsys):
    seen = []
    images = np.zeros((1, 28, 28, 1), np.uint8)
    sets = {"train": group_by_class(images, np.zeros(1, np.int32)), "test": None}
    monkeypatch.setattr(modes, "load_data", lambda config: sets)
    monkeypatch.setattr(modes.evaluation, "evaluate", lambda *given, **facts: seen.append((given, facts)))
    modes.evaluate(load_config("bruno_omniglot:bundled"), tmp_path)
    ((_, _, _, params, step, _), facts), shipped = seen[0], exflow.load("bruno_omniglot")
    jax.tree.map(np.testing.assert_array_equal, params, shipped.params)
    assert (step, facts["info"]) == (shipped.info["step"], {"bundled": "bruno_omniglot"})
    assert "taking the model that comes with exflow, bruno_omniglot" in capsys.readouterr().out
    with pytest.raises(UserError, match="is another model than this config describes"):
        modes.evaluate(load_config("bruno_omniglot:bundled", [("model.bruno.dense_couplings", "4")]), tmp_path)
    with pytest.raises(UserError, match="Train first"):
        modes.evaluate(load_config("bruno_omniglot:cpu"), tmp_path)


def test_variants_that_can_be_tuned_from_one():
    source = from_json(json.dumps(json.loads((loading.BUNDLED / "bruno_omniglot.json").read_text())["config"]))
    for variant in ("cpu", "smoke_bundled"):
        finetuning.check_same_model(load_config(f"bruno_omniglot_finetune:{variant}"), source, "bruno_omniglot")
    with pytest.raises(UserError, match=r"Take :cpu or :smoke_bundled of bruno_omniglot_finetune, or set these keys"):
        finetuning.check_same_model(load_config("bruno_omniglot_finetune:smoke"), source, "bruno_omniglot")

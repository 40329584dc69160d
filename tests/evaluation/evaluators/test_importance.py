"""The evaluator of importance weights: when it runs, and what it reports."""

import chex
import numpy as np
import pytest

from exflow.config import base_config
from exflow.evaluation import evaluate_split, registry
from exflow.evaluation.evaluators.importance import IMPORTANCE
from tests.evaluation.linear_gaussian import data, linear_gaussian, log_evidence, parameters
from tests.evaluation.scoring.test_importance import SHAPE, tiny
from tests.evaluation.toy import toy_model
from tests.evaluation.toy_data import image_sets
from tests.models.registry import TINY_VECTORS, small_config

SETS = image_sets([3, 3, 2, 3], SHAPE)
SETS = SETS._replace(images=SETS.images.astype(np.float32) / 100)


def config_with(samples, **overrides):
    options = {"evaluation__importance_samples": samples, "evaluation__nll_set_size": 3, "data__rotate": False}
    return small_config(**TINY_VECTORS, **options, evaluation__settings=(), **overrides)


def test_it_runs_where_there_are_weights_to_tell_of():
    model = tiny()[0]
    assert "importance" in [one.name for one in registry.chosen(config_with(2), model)]
    assert "importance" not in [one.name for one in registry.chosen(config_with(1), model)]
    assert not IMPORTANCE.requires(toy_model())
    lines = []
    alone = config_with(1, evaluation__evaluators=("importance",))
    assert evaluate_split(alone, *tiny(), SETS, "test", None, lines.append) == {}
    assert any("importance: skipped" in line for line in lines)


@pytest.mark.slow
def test_entries():
    config = config_with(6, evaluation__evaluators=("importance",))
    entries = evaluate_split(config, *tiny(), SETS, "validation", None, lambda line: None)
    names = ("nll", "nelbo", "monte_carlo_error", "effective_draws")
    assert list(entries) == [f"validation_importance_{name}" for name in names]
    nll, nelbo, error, draws = entries.values()
    assert nll["value"] < nelbo["value"]
    assert nll["unit"] == nelbo["unit"] == error["unit"] == "nats/element"
    assert 1 <= draws["value"] <= 6
    assert error["value"] > 0
    assert nll["standard_error"] > 0
    assert "4 sets of 2 to 3 validation elements of a class, vectors of 2; 6 draws of the latents" in nll["protocol"]


@pytest.mark.slow
def test_fine_tuned_bounds_stand_beside_those_as_trained():
    """Labelled, of the same images and draws; nothing of it is kept."""
    config, model, params = base_config("matnet"), linear_gaussian(), parameters()
    config.data.rotate, config.evaluation.settings, config.evaluation.nll_set_size = False, (), 1
    config.evaluation.update(importance_samples=50, evaluators=("importance",), finetune_learning_rate=0.05)
    config.optimizer.epsilon = 1e-4
    values, lines = data(40), []
    sets = image_sets([40], model.image_shape)._replace(images=values[:, 0])
    without = evaluate_split(config, model, params, sets, "test", None, lines.append)
    config.evaluation.finetune_epochs = 30
    entries = evaluate_split(config, model, params, sets, "test", None, lines.append)
    assert [name for name in entries if name not in without] == [
        "test_importance_nll_finetuned",
        "test_importance_nelbo_finetuned",
        "test_importance_gain_finetuned",
    ]
    for name, entry in without.items():
        assert entries[name]["value"] == entry["value"]
    found = {name.removeprefix("test_importance_"): entry["value"] for name, entry in entries.items()}
    np.testing.assert_allclose(found["gain_finetuned"], found["nll"] - found["nll_finetuned"], atol=1e-6)
    np.testing.assert_allclose(found["nll_finetuned"], -log_evidence(values).mean(), atol=0.02)
    assert -log_evidence(values).mean() < found["nelbo_finetuned"] < found["nelbo"] - 0.3
    trained, after = (entries[f"test_importance_{name}"] for name in ("nll", "nll_finetuned"))
    label = "inference fine-tuned on these test elements themselves for 30 epochs, generator as trained"
    assert label in after["protocol"]
    assert "(not comparable with bounds of untuned inference)" in after["protocol"]
    assert "inference as trained; 40 test elements, each on its own" in trained["protocol"]
    assert sum("epoch" in line and "bound of 1 draw" in line for line in lines) == 10
    chex.assert_trees_all_equal(params, parameters())

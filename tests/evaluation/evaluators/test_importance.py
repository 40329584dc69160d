"""The evaluator of importance weights: when it runs, and what it reports."""

import numpy as np
import pytest

from exflow.evaluation import evaluate_split, registry
from exflow.evaluation.evaluators.importance import IMPORTANCE
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

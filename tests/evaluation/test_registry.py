"""Which evaluators a model gets, what they refuse, and which metric may choose the best checkpoint."""

import numpy as np
import pytest

from exflow.config import base_config
from exflow.errors import UserError
from exflow.evaluation import registry, validate
from exflow.model import CodeFunctions
from tests.evaluation.toy import toy_model, toy_params
from tests.evaluation.toy_data import image_sets
from tests.evaluation.toy_views import conditional_toy

MODEL = toy_model()
ONLY_CODES = MODEL._replace(
    sets=None,
    process=None,
    codes=CodeFunctions(
        length=4,
        encode=lambda params, x: x.reshape(*x.shape[:-3], 4) >= 128,
        decode=lambda params, bits: (bits.reshape(*bits.shape[:-1], 2, 2, 1) * 255).astype(np.uint8),
    ),
)


def config_with(**overrides):
    config = base_config("bruno")
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in overrides.items()})
    return config


def names(model, **overrides):
    return [one.name for one in registry.chosen(config_with(**overrides), model)]


def test_a_model_gets_what_it_can_serve():
    assert names(MODEL) == ["likelihood", "few_shot", "samples"]
    assert names(conditional_toy()) == ["views", "samples"]
    assert names(ONLY_CODES) == ["reconstruction"]
    assert names(MODEL, evaluation__evaluators=("samples", "likelihood")) == ["samples", "likelihood"]


def test_what_cannot_be_evaluated_is_refused():
    message = "config.evaluation.evaluators: reconstruction needs codes of images, which toy lacks. Leave it out"
    with pytest.raises(UserError, match=message):
        names(MODEL, evaluation__evaluators=("reconstruction",))
    with pytest.raises(UserError, match=r"evaluators: expected some of likelihood, few_shot, .*, got 'fid'"):
        names(MODEL, evaluation__evaluators=("fid",))


def test_a_registered_evaluator_runs(monkeypatch):
    monkeypatch.setattr(registry, "EVALUATORS", dict(registry.EVALUATORS))
    evaluator = registry.EVALUATORS["likelihood"]._replace(
        name="brightness",
        metrics=lambda config, model: {"brightness": "max"},
        validate=lambda task: {"brightness": float(task.image_sets.images.mean())},
    )
    assert registry.register(evaluator) is evaluator
    sets = image_sets([5] * 6)
    values = validate(config_with(evaluation__settings=()), MODEL, toy_params(4), sets)
    assert values["brightness"] == sets.images.mean()
    registry.check_best_metric(config_with(training__best_metric="brightness", training__best_mode="max"), MODEL)
    with pytest.raises(ValueError, match="expected a new name, got 'few_shot'"):
        registry.register(evaluator._replace(name="few_shot"))


def test_the_best_metric_is_one_that_validation_gives():
    registry.check_best_metric(config_with(), MODEL)
    registry.check_best_metric(config_with(training__best_metric=""), ONLY_CODES)
    best = {"training__best_metric": "few_shot/20way_1shot", "training__best_mode": "max"}
    registry.check_best_metric(config_with(**best), MODEL)
    registry.check_best_metric(config_with(training__best_metric="nll_given_4"), conditional_toy())
    message = r"config.training.best_metric: expected one of nll, .*few_shot/5way_1shot.*, got 'acc'"
    with pytest.raises(UserError, match=message):
        registry.check_best_metric(config_with(training__best_metric="acc"), MODEL)
    with pytest.raises(UserError, match="config.training.best_mode: expected min with nll, got 'max'"):
        registry.check_best_metric(config_with(training__best_mode="max"), MODEL)
    with pytest.raises(UserError, match="best_metric: expected one of reconstruction_mse, got 'nll'"):
        registry.check_best_metric(config_with(), ONLY_CODES)


def test_reconstruction_of_two_valued_pixels():
    sets = image_sets([3, 2])
    config = config_with(evaluation__batch_size=2, training__best_metric="reconstruction_mse")
    values = validate(config, ONLY_CODES, toy_params(4), sets)
    images = sets.images.astype(np.float64)
    expected = (((images >= 128) * 255 - images) ** 2 / 255**2).mean()
    np.testing.assert_allclose(values["reconstruction_mse"], expected)

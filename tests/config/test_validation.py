"""Configurations that cannot run are refused in one line."""

import pytest

from exflow.config import base_config, validate
from exflow.config.checks import AT_LEAST_ONE, AT_LEAST_TWO, BELOW_ONE, POSITIVE, PROBABILITY, SIGNED_FRACTION
from exflow.config.families import families
from exflow.config.overrides import set_from_text, set_value
from exflow.config.validation import CHOICES, INTERVALS
from exflow.errors import UserError


def validated(overrides):
    """The defaults of BRUNO with some keys changed, if that is valid."""
    config = base_config("bruno")
    for key, text in overrides.items():
        set_from_text(config, key, text)
    validate(config)
    return config


@pytest.mark.parametrize("family", families())
def test_defaults_are_valid(family):
    validate(base_config(family))


@pytest.mark.parametrize(
    ("family", "key", "choices"),
    [
        (name, key, choices)
        for name, family in families().items()
        for key, choices in (CHOICES | dict(family.choices)).items()
    ],
)
def test_choices(family, key, choices):
    config = base_config(family)
    set_value(config, key, "other")
    with pytest.raises(UserError, match=rf"config.{key}: expected one of {choices[0]}, .*, got 'other'"):
        validate(config)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"training.num_steps": "-1"}, r"config.training.num_steps: expected at least 0, got -1"),
        ({"data.sets_per_batch": "0"}, r"config.data.sets_per_batch: expected at least 1, got 0"),
        ({"optimizer.clip_norm": "nan"}, r"config.optimizer.clip_norm: expected a finite number, got nan"),
        ({"training.seed": str(2**31)}, r"config.training.seed: expected a number below 2\*\*31"),
        ({"data.downscale": "3"}, r"config.data.downscale: expected a divisor of data.image_size = 28, got 3"),
        ({"data.min_set_size": "21"}, r"config.data.min_set_size: expected at most data.set_size = 20, got 21"),
        ({"data.batches": "sets"}, r"config.data.batches: expected one of episodes, images, got 'sets'"),
        (
            {"data.batches": "images", "data.rotate": "False"},
            r"config.data.set_size: expected 1 with data.batches=images, got 20. Set --config.data.set_size=1, or",
        ),
        (
            {"data.batches": "images", "data.set_size": "1", "data.rotate": "True"},
            r"config.data.rotate: expected False with data.batches=images, got True. Set --config.data.rotate=False",
        ),
        (
            {"data.batches": "images", "data.set_size": "1", "data.rotate": "False", "data.distinct": "True"},
            r"config.data.distinct: expected False with data.batches=images, got True",
        ),
        ({"model.bruno.alpha": "0"}, r"config.model.bruno.alpha: expected a positive number, got 0.0. The logit"),
        ({"model.bruno.degrees_of_freedom": "2"}, r"degrees_of_freedom: expected more than 2, got 2.0"),
        ({"model.bruno.spline_bins": "1"}, r"bruno.spline_bins: expected at least 2 and less than 1000, got 1"),
        (
            {"model.bruno.coupling": "spline", "model.bruno.conditioning": "original"},
            r"config.model.bruno.conditioning: expected none or clean with coupling=spline, got 'original'",
        ),
        (
            {"model.bruno.turn_back": "True"},
            r"config.model.bruno.conditioning: expected original or clean with turn_back, got 'none'",
        ),
        ({"objective.num_given": "20"}, r"config.objective.num_given: expected less than the 20 images of a set"),
        (
            {"objective.num_given": "3", "data.min_set_size": "3"},
            r"config.objective.num_given: expected less than the 3 images of a set, got 3",
        ),
        ({"model.bruno.correlation_range": "0.5,0.2"}, r"correlation_range: expected \(\) or \(low, high\)"),
        ({"model.bruno.correlation_range": "0.1,1"}, r"config.model.bruno.correlation_range: .* got \(0.1, 1\)"),
        ({"optimizer.decay_rate": "1.1"}, r"config.optimizer.decay_rate: expected a factor in \(0, 1\], got 1.1"),
        ({"evaluation.finetune_epochs": "1"}, r"finetune_epochs: expected 0, since models of bruno .* got 1"),
        ({"training.only_groups": "flow"}, r"only_groups: expected some of main, process, statistics, got \('flow',\)"),
        ({"optimizer.milestones": "5,5"}, r"config.optimizer.milestones: expected ever larger whole .*, got \(5, 5\)"),
        ({"optimizer.milestones": "0,5"}, r"config.optimizer.milestones: expected .* at least 1, got \(0, 5\)"),
        ({"optimizer.milestones": "1.5,"}, r"config.optimizer.milestones: expected ever larger whole numbers"),
        ({"objective.shots": "()"}, r"config.objective.shots: expected whole numbers of at least 1"),
        ({"objective.shots": "0,"}, r"config.objective.shots: expected whole numbers of at least 1"),
        ({"objective.generative_weight": "0"}, r"config.objective: both weights are 0"),
        (
            {"objective.discriminative_weight": "1", "data.distinct": "True", "objective.shots": "20"},
            r"config.data.set_size: expected more than max\(objective.shots\) = 20, got 20",
        ),
        (
            {"objective.discriminative_weight": "1", "data.distinct": "True", "data.sets_per_batch": "1"},
            r"config.data.sets_per_batch: expected at least 2 classes",
        ),
        (
            {"objective.discriminative_weight": "1"},
            r"config.data.distinct: expected True with objective.discriminative",
        ),
        ({"evaluation.settings": "((1, 1),)"}, r"config.evaluation.settings: expected pairs \(way, shot\)"),
        ({"evaluation.settings": "(5, 1)"}, r"config.evaluation.settings: expected pairs \(way, shot\)"),
        ({"evaluation.splits": "('tset',)"}, r"config.evaluation.splits: expected some of .*, got \('tset',\)"),
        (
            {"data.dataset": "omniglot", "data.split": "vinyals_trainval"},
            r"config.training.best_metric: 'nll' is measured on validation classes, which data.split = vinyals",
        ),
        ({"training.best_mode": "larger"}, r"config.training.best_mode: expected one of min, max, got 'larger'"),
        ({"evaluation.splits": "()"}, r"config.evaluation.splits: expected some of"),
    ],
)
def test_inconsistent_values(overrides, message):
    with pytest.raises(UserError, match=message):
        validated(overrides)


OUTSIDE = {
    AT_LEAST_ONE: ("0", "expected at least 1"),
    AT_LEAST_TWO: ("1", "expected at least 2"),
    SIGNED_FRACTION: ("-1.5", r"expected a number in \[-1, 1\]"),
    POSITIVE: ("0", "expected a positive number"),
    BELOW_ONE: ("1", r"expected a number in \[0, 1\)"),
    PROBABILITY: ("1.5", "expected a probability"),
}


@pytest.mark.parametrize("family", families())
def test_intervals(family):
    for key, interval in (INTERVALS | dict(families()[family].intervals)).items():
        config, (bad, message) = base_config(family), OUTSIDE[interval]
        set_from_text(config, key, bad)
        with pytest.raises(UserError, match=rf"config.{key}: {message}, got {bad}"):
            validate(config)


def test_best_checkpoint_by_accuracy():
    overrides = {"training.best_metric": "few_shot/20way_1shot", "training.best_mode": "max"}
    assert validated(overrides).training.best_mode == "max"


def test_fine_tuned_bounds_have_several_draws():
    config = base_config(next(name for name, family in families().items() if "inference" in family.groups))
    config.evaluation.finetune_epochs = 1
    with pytest.raises(UserError, match=r"marginal_samples: expected at least 2 with evaluation.finetune_epochs"):
        validate(config)
    config.evaluation.marginal_samples = 2
    validate(config)

"""Single keys by their dotted names: types, old and unknown ones, and their one-line errors."""

import subprocess

import pytest

from exflow.config import base_config
from exflow.config.flat import flatten
from exflow.config.overrides import as_text, nearest, set_from_text, set_value
from exflow.errors import UserError


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("model.bruno.filters", "16", 16),
        ("optimizer.learning_rate", "3e-4", 3e-4),
        ("optimizer.learning_rate", "1", 1.0),
        ("model.bruno.remat", "true", True),
        ("model.bruno.remat", "False", False),
        ("model.bruno.process", "student_t", "student_t"),
        ("objective.shots", "(1, 5)", (1, 5)),
        ("objective.shots", "1,5", (1, 5)),
        ("objective.shots", "[5]", (5,)),
        ("objective.shots", "5", (5,)),
        ("evaluation.settings", "[[5, 1], [20, 5]]", ((5, 1), (20, 5))),
        ("evaluation.splits", "('validation', 'test')", ("validation", "test")),
        ("evaluation.splits", "test,train", ("test", "train")),
        ("evaluation.splits", "[test, train]", ("test", "train")),
        ("evaluation.settings", "", ()),
        ("training.num_steps", "1e4", 10_000),
        ("training.num_steps", "20_000", 20_000),
    ],
)
def test_text_is_read_as_the_type_of_the_key(key, text, value):
    config = base_config("bruno")
    set_from_text(config, key, text)
    found = flatten(config)[key]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        (
            "model.bruno.filters",
            "abc",
            r"config.model.bruno.filters: expected int, got 'abc'. For example: --config.model.bruno.filters=64",
        ),
        ("model.bruno.filters", "1.5", r"expected int, got '1.5'"),
        ("model.bruno.filters", "", r"expected int, got ''"),
        ("optimizer.learning_rate", "fast", r"config.optimizer.learning_rate: expected float, got 'fast'"),
        ("model.bruno.remat", "maybe", r"config.model.bruno.remat: expected True or False, got 'maybe'"),
        ("objective.shots", "one", r"config.objective.shots: expected tuple, got 'one'"),
        ("objective.shots", "(1,", r"config.objective.shots: expected tuple"),
        ("imports", "('module", r"config.imports: expected tuple, got \"\('module\". For example: --config.imports=''"),
        ("evaluation.splits", "(test", r"got '\(test'. For example: --config.evaluation.splits=test"),
        ("evaluation.settings", "x", r"For example: --config.evaluation.settings='\(\(5,1\),\(5,5\)"),
        ("training.num_steps", "1e-4", r"expected int, got '1e-4'"),
        ("training.num_steps", "inf", r"expected int, got 'inf'"),
        ("optimizer.lr", "3", r"no such key. Did you mean config.optimizer.learning_rate\?"),
        ("lr", "3", r"no such key. Did you mean config.optimizer.learning_rate\?"),
        ("model", "3", r"config.model: is a section, set one of its keys: config.model.block_loop, config.model"),
        ("model.filter", "3", r"config.model.filter: no such key. Did you mean config.model.bruno.filters\?"),
        ("filters", "3", r"config.filters: no such key. Did you mean config.model.bruno.filters\?"),
        ("optimizer.lerning_rate", "3", r"Did you mean config.optimizer.learning_rate"),
        ("zzz", "3", r"config.zzz: no such key. Did you mean config\."),
    ],
)
def test_wrong_overrides(key, text, message):
    with pytest.raises(UserError, match=message):
        set_from_text(base_config("bruno"), key, text)


def test_variant_values_have_the_type_of_the_key():
    config = base_config("bruno")
    set_value(config, "optimizer.learning_rate", 1)
    set_value(config, "objective.shots", [1, 5])
    assert type(config.optimizer.learning_rate) is float
    assert config.objective.shots == (1, 5)
    with pytest.raises(UserError, match=r"config.model.bruno.filters: expected int, got 1.5"):
        set_value(config, "model.bruno.filters", 1.5)
    with pytest.raises(UserError, match=r"config.model.bruno.filters: expected int, got True"):
        set_value(config, "model.bruno.filters", True)


def test_nearest_prefers_the_same_last_word():
    assert nearest("train.seed", flatten(base_config("bruno")))[0] == "training.seed"


@pytest.mark.parametrize("family", ["bruno", "set_vae"])
def test_values_in_messages_survive_bash(family):
    defaults = {key: value for key, value in flatten(base_config(family)).items() if value is not None}
    words = [f"--config.{key}={as_text(value)}" for key, value in defaults.items()]
    script = "printf '%s\\n' " + " ".join(words)
    seen = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
    for (key, value), word in zip(defaults.items(), seen, strict=True):
        config = base_config(family)
        set_from_text(config, key, word.removeprefix(f"--config.{key}="))
        assert flatten(config)[key] == value

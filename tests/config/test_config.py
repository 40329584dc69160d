"""Configurations: files, variants, overrides, validation and their one-line errors."""

import re

import pytest
from ml_collections import ConfigDict

from exflow.config import available_configs, base_config, from_json, load_config, to_json, validate
from exflow.config.checks import AT_LEAST_ONE, BELOW_ONE, POSITIVE, PROBABILITY
from exflow.config.families import families
from exflow.config.flat import flatten
from exflow.config.load import find_config, variants_of
from exflow.config.overrides import nearest, set_from_text, set_value
from exflow.config.validation import CHOICES, INTERVALS
from exflow.errors import UserError

FILE = """
from exflow.config import base_config

def get_config():
    config = base_config("bruno")
    config.model.bruno.filters = 32
    return config

VARIANTS = {"smoke": {"model.bruno.filters": 8, "training.num_steps": 4}}
"""


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


# Files, variants and overrides


def test_file_then_variant_then_overrides(config_file):
    config = load_config(str(config_file))
    assert (config.name, config.variant, config.model.bruno.filters) == ("mine", "", 32)
    config = load_config(f"{config_file}:smoke")
    assert (config.variant, config.model.bruno.filters, config.training.num_steps) == ("smoke", 8, 4)
    config = load_config(f"{config_file}:smoke", [("model.bruno.filters", "9")])
    assert (config.model.bruno.filters, config.training.num_steps) == (9, 4)


def test_result_is_locked(config_file):
    config = load_config(str(config_file))
    with pytest.raises(AttributeError, match="does not exist and cannot be added"):
        config.model.filter = 3


def test_unknown_variant_lists_the_variants(config_file):
    with pytest.raises(UserError, match=r"mine.py has no variant 'smok'. Its variants: :smoke."):
        load_config(f"{config_file}:smok")


def test_missing_file_lists_the_configs():
    with pytest.raises(
        UserError, match=r"no file 'bruno.py'. Configs that come with exflow: configs/bruno_cifar10.py,"
    ):
        load_config("bruno.py")


@pytest.mark.parametrize("spec", ["bruno_glyphs", "bruno_glyphs.py", "configs/bruno_glyphs.py"])
def test_bundled_configs_are_found_from_any_folder(spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config(f"{spec}:smoke").name == "bruno_glyphs"


def test_a_file_that_exists_wins_over_the_bundled_one(config_file, monkeypatch):
    own = config_file.parent / "configs" / "bruno_glyphs.py"
    own.parent.mkdir()
    own.write_text(FILE)
    monkeypatch.chdir(config_file.parent)
    assert load_config("configs/bruno_glyphs.py").model.bruno.filters == 32


def test_other_folders_are_not_searched(tmp_path):
    with pytest.raises(UserError, match=r"no file '.*elsewhere/bruno_glyphs.py'"):
        find_config(str(tmp_path / "elsewhere" / "bruno_glyphs.py"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:", r"mine.py, line 1: SyntaxError"),
        ("import nothing_of_this_name", r"mine.py, line 1: ModuleNotFoundError: No module named"),
        ("x = 1", r"mine.py: expected a function get_config\(\)"),
        ("def get_config():\n    return {}", r"mine.py: expected a function get_config\(\) that returns base_config"),
        (
            "from exflow.config import base_config\ndef get_config():\n    base_config('bruno').model.filter = 3",
            r"mine.py, line 3: no key 'filter' here. Did you mean config.model.bruno.filters\?",
        ),
        (
            "from exflow.config import base_config as b\ndef get_config():\n    b('bruno').model.bruno.filters = 'a'",
            r"mine.py, line 3: TypeError: .*filters",
        ),
        (
            "from ml_collections import ConfigDict\nget_config = lambda: ConfigDict({'name': '', 'variant': ''})",
            r"config.model.family: expected one of bruno, set_vae, got ''. A family of your own",
        ),
    ],
)
def test_a_file_that_fails_is_one_line(config_file, text, message):
    config_file.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        load_config(str(config_file))
    assert "\n" not in str(error.value)


def test_a_user_error_raised_by_a_file_passes_through(config_file):
    config_file.write_text("from exflow.errors import UserError\ndef get_config():\n    raise UserError('not here')")
    with pytest.raises(UserError, match="^not here$"):
        load_config(str(config_file))


def test_own_keys_can_be_added_and_overridden(config_file):
    config_file.write_text(
        FILE.replace("    return", "    with config.unlocked():\n        config.model.my_key = -1\n    return")
    )
    assert load_config(str(config_file)).model.my_key == -1
    assert load_config(str(config_file), [("model.my_key", "-7")]).model.my_key == -7


# Single keys


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


# Validation


def test_defaults_are_valid():
    validate(base_config("bruno"))


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
def test_inconsistent_values(config_file, overrides, message):
    with pytest.raises(UserError, match=message):
        load_config(str(config_file), overrides.items())


OUTSIDE = {
    AT_LEAST_ONE: ("0", "expected at least 1"),
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


def test_best_checkpoint_by_accuracy(config_file):
    overrides = [("training.best_metric", "few_shot/20way_1shot"), ("training.best_mode", "max")]
    assert load_config(str(config_file), overrides).training.best_mode == "max"


# JSON


def test_json_round_trip(config_file):
    config = load_config(str(config_file), [("evaluation.settings", "((5, 1), (3, 2))")])
    again = from_json(to_json(config))
    assert again.to_dict() == config.to_dict()
    assert again.evaluation.settings == ((5, 1), (3, 2))
    assert again.is_locked


def test_json_of_an_earlier_version_gets_defaults_and_keeps_own_keys():
    config = from_json('{"model": {"family": "bruno", "filters": 7, "my_key": [1, 2]}, "mine": {"a": 1}}')
    assert (config.model.bruno.filters, config.model.my_key, config.mine.a) == (7, (1, 2), 1)
    assert config.data.to_dict() == base_config("bruno").data.to_dict()


# The configs that come with exflow


def test_every_key_is_read_somewhere(repository):
    sources = [path for path in (repository / "exflow").rglob("*.py") if "config" not in path.parts]
    words = {word for path in sources for word in re.findall(r"\w+", path.read_text())}
    keys = {key for family in families() for key in flatten(base_config(family))}
    assert {key.rpartition(".")[2] for key in keys} - words == set()


VARIANTS = {name: sorted(variants_of(name)) for name in available_configs()}


@pytest.mark.parametrize("spec", [f"{name}:{variant}" for name in VARIANTS for variant in ["", *VARIANTS[name]]])
def test_every_variant_of_every_config_is_valid(spec):
    assert isinstance(load_config(spec), ConfigDict)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_config_has_a_smoke_variant(name):
    assert "smoke" in VARIANTS[name]

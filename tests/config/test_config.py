"""Config files, their variants, overrides and one-line errors; JSON."""

import pytest

from exflow.config import base_config, from_json, load_config, to_json
from exflow.config.load import find_config
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
            r"config.model.family: expected one of bruno, lbae, matnet, set_vae, got ''. A family of your own",
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

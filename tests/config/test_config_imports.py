"""`config.imports`: a config file finds its neighbours, and what is stored finds them again from any folder."""

import json
import sys

import pytest

from exflow.config import base_config, from_json, load_config, to_json
from exflow.errors import UserError

FAMILY = """
from exflow.config.families import Family, register_family
register_family("neighbour", Family(model={"units": 3}))
"""
CONFIG = """
from exflow.config import base_config
from neighbour_words import UNITS

def get_config():
    config = base_config("neighbour", imports=("neighbour_family",))
    config.model.neighbour.units = UNITS
    return config
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A config file and its neighbours; what is imported is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.setattr("exflow.config.families._REGISTERED", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "neighbour_family.py").write_text(FAMILY)
    (tmp_path / "neighbour_words.py").write_text("UNITS = 5\n")
    (tmp_path / "mine.py").write_text(CONFIG)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_config_file_finds_its_neighbours_and_stores_where_they_lie(folder):
    path = [*sys.path]
    config = load_config(str(folder / "mine.py"))
    assert config.model.neighbour.units == 5
    assert config.imports == (str(folder / "neighbour_family.py"),)
    assert sys.path == [*path, str(folder)]


def test_a_stored_configuration_imports_first(folder, tmp_path_factory, monkeypatch):
    text = to_json(load_config(str(folder / "mine.py")))
    monkeypatch.setattr("exflow.config.families._REGISTERED", {})
    for name in [name for name in sys.modules if "neighbour" in name]:
        del sys.modules[name]
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    config = from_json(text)
    assert config.model.neighbour.units == 5
    assert to_json(config) == text


def test_a_file_that_moved_is_one_line(folder):
    values = json.loads(to_json(load_config(str(folder / "mine.py"))))
    values["imports"] = [str(folder / "moved.py")]
    with pytest.raises(UserError, match=r"config.imports: there is no file '.*moved.py'") as caught:
        from_json(json.dumps(values))
    assert "\n" not in str(caught.value)


def test_imports_on_the_command_line(folder, monkeypatch):
    monkeypatch.chdir(folder)
    config = load_config("bruno_glyphs", [("imports", "neighbour_family.py")])
    assert config.imports == (str(folder / "neighbour_family.py"),)
    assert base_config("neighbour").model.neighbour.units == 3
    assert load_config("bruno_glyphs", [("imports", "json,difflib")]).imports == ("json", "difflib")
    with pytest.raises(UserError, match=r"config.imports: there is no module 'nowhere_at_all'"):
        load_config("bruno_glyphs", [("imports", "nowhere_at_all")])

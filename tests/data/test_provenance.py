"""A cached data set is never the answer for another builder, other options, another base or changed files."""

import functools
import os
from pathlib import Path

import numpy as np
import pytest

from exflow.data import datasets, fingerprint, prepared
from exflow.data.building.options import user_path
from exflow.data.labelled import load_labelled
from exflow.data.registry import LabelledImages, register
from exflow.data.sources import solids
from exflow.imports import import_modules

pytestmark = pytest.mark.usefixtures("cache_dir", "clean_registry")
BUILDER = """
import numpy as np
import {helper}
from exflow.data.registry import LabelledImages, register

@register("mine")
def mine(part: str = "x", kind: str = "z", root: str = "") -> LabelledImages:
    images = np.full((3, 2, 2, 1), {helper}.LEVEL + {level}, np.uint8)
    return LabelledImages(images, np.arange(3, dtype=np.int32), np.arange(3, dtype=np.uint8))
"""


def data_of(level: int) -> LabelledImages:
    images = np.full((3, 2, 2, 1), level, np.uint8)
    return LabelledImages(images, np.arange(3, dtype=np.int32), np.arange(3, dtype=np.uint8))


def level_of(name: str, **options) -> int:
    return int(datasets.load(name, **options)["test"].images[0, 0, 0, 0])


def project(folder, helper_level: int, level: int) -> None:
    """Imports the data set "mine" of a new project, whose module imports a second one that imports a third."""
    folder.mkdir()
    name = folder.name
    (folder / f"{name}_deep.py").write_text(f"LEVEL = {helper_level}\n")
    (folder / f"{name}_helper.py").write_text(f"def late():\n    import json\nfrom {name}_deep import LEVEL\n")
    (folder / "builder.py").write_text(BUILDER.format(level=level, helper=f"{name}_helper"))
    import_modules([str(folder / "builder.py")])


def test_two_projects_with_one_name_and_edits_of_builder_or_helper(tmp_path) -> None:
    for name, helper_level, level in (("a", 0, 1), ("b", 0, 2), ("c", 0, 1), ("d", 5, 1)):
        project(tmp_path / name, helper_level, level)
        assert level_of("mine") == helper_level + level
        assert level_of("mine") == helper_level + level  # now from the cache


def test_equal_projects_share_a_file(tmp_path, cache_dir) -> None:
    """What counts is the text and not where it lies."""
    for parent in ("first", "second"):
        (tmp_path / parent).mkdir()
        (tmp_path / parent / "same.py").write_text(
            BUILDER.format(level=3, helper="types").replace("types.LEVEL + ", "")
        )
        import_modules([str(tmp_path / parent / "same.py")])
        assert level_of("mine") == 3
    assert len(list(cache_dir.iterdir())) == 1


def test_builders_of_one_file_and_name_are_told_apart(cache_dir) -> None:
    def factory(level: int):
        return lambda: data_of(level)

    def one():
        return data_of(3)

    def two():
        return data_of(4)

    builders = [factory(1), factory(2), one, two, functools.partial(data_of, 5), functools.partial(data_of, 6)]
    for level, build in enumerate(builders, start=1):
        register("same")(build)
        assert level_of("same") == level
    code = "from tests.data.test_provenance import data_of\ndef build():\n    return data_of({})"
    for level in (7, 8):  # as in a notebook, where there is no file
        scope: dict = {}
        exec(code.format(level), scope)
        register("same")(scope["build"])
        assert level_of("same") == level


def test_options_that_look_alike_have_files_of_their_own(cache_dir) -> None:
    @register("mine")
    def mine(part: str = "x", kind: str = "y", number: float = 1) -> LabelledImages:
        return data_of(len(part) * 10 + len(kind) + (100 if isinstance(number, float) else 0))

    assert level_of("mine", part="x", kind="y-z") == 13
    assert level_of("mine", part="x-y", kind="z") == 31
    assert level_of("mine", part="a/b", kind="..") == 32  # no folder of the file system
    assert level_of("mine", part="a_b", kind="..") == 32
    assert level_of("mine", part="x" * 24, kind="") == 240
    assert level_of("mine", number=1) == 11
    assert level_of("mine", number=1.0) == 111
    assert len(list(cache_dir.iterdir())) == 7


def test_a_data_set_made_from_another_follows_it() -> None:
    register("derived")(lambda: load_labelled("between"))
    register("between", cache=False)(lambda: load_labelled("base"))
    for level in (1, 2):
        register("base")(functools.partial(data_of, level))
        assert [level_of("derived"), level_of("derived")] == [level, level]


def test_changed_files_of_the_user_are_read_again(tmp_path, monkeypatch) -> None:
    builds = []

    @register("filed")
    def filed() -> LabelledImages:
        builds.append(1)
        return data_of(int((user_path("filed", "EXFLOW_TOY", "folder", "x.") / "level").read_text()))

    register("derived")(lambda: load_labelled("filed"))
    folder = tmp_path / "files"
    folder.mkdir()
    monkeypatch.setenv("EXFLOW_TOY", str(folder))
    for level in (1, 2):
        (folder / "level").write_text(str(level))
        os.utime(folder / "level", (level, level))
        assert [level_of("filed"), level_of("derived"), level_of("filed")] == [level] * 3
    assert len(builds) == 2
    monkeypatch.delenv("EXFLOW_TOY")  # a machine without the files uses what was prepared
    assert level_of("derived") == 2


def test_file_names_are_short_and_plain() -> None:
    name = prepared.file_name("a b/c", {"root": "/x" * 200, "text": "ü\n"})
    assert len(name) < 130
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")


def test_sources_of_the_package_depend_on_what_makes_their_pixels() -> None:
    files = {file.name for file in fingerprint._project_files(Path(solids.__file__).resolve())}
    assert {"solids.py", "render.py", "views.py"} <= files
    assert not {"registry.py", "prepared.py", "labelled.py", "errors.py"} & files

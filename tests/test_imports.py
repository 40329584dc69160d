"""Modules of the user, imported by name or by path."""

import sys
from pathlib import Path

import pytest

from exflow.errors import UserError
from exflow.imports import import_modules


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a package, a file and its neighbour; what is imported is forgotten afterwards."""
    before = set(sys.modules)
    (tmp_path / "toy_package").mkdir()
    (tmp_path / "toy_package" / "__init__.py").write_text("")
    (tmp_path / "toy_package" / "shapes.py").write_text("import toy_calls\ntoy_calls.seen.append('package')\n")
    (tmp_path / "lines.py").write_text("import toy_calls\nfrom toy_beside import WORD\ntoy_calls.seen.append(WORD)\n")
    (tmp_path / "toy_beside.py").write_text("WORD = 'beside'\n")
    (tmp_path / "toy_calls.py").write_text("seen = []\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def calls() -> list[str]:
    return sys.modules["toy_calls"].seen


def test_a_file_is_imported_once_and_finds_its_neighbours(folder: Path, tmp_path_factory, monkeypatch) -> None:
    import_modules(["lines.py", str(folder / "lines.py")])
    import_modules(("lines.py",))
    assert calls() == ["beside"]
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    import_modules(["lines.py"], [folder])
    assert calls() == ["beside"]


def test_a_module_is_imported_by_name(folder: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(folder))
    import_modules(["toy_package.shapes", "toy_package.shapes"])
    assert calls() == ["package"]


def test_what_is_missing_or_fails_is_named_in_one_line(folder: Path, monkeypatch) -> None:
    def fails(match: str, *names: str, **options: str) -> None:
        with pytest.raises(UserError, match=match) as caught:
            import_modules(names, **options)
        assert "\n" not in str(caught.value)

    monkeypatch.syspath_prepend(str(folder))
    fails(r"config.imports: there is no module 'toy_package.line'. Install it, add its folder", "toy_package.line")
    fails(r"--imports: there is no module 'toy_pack'", "toy_pack", origin="--imports")
    fails(rf"there is no file 'shapes.py' in {folder}. Correct the path", "shapes.py")
    fails(r"there is no file '/nowhere/shapes.py'\. Correct", "/nowhere/shapes.py")
    (folder / "broken.py").write_text("x = 1\nx.missing\n")
    for _ in range(2):  # the second time as well
        fails(r"'broken.py' fails in .*broken.py, line 2 \(AttributeError: .*missing.*\). Correct it", "broken.py")
    (folder / "broken.py").write_text("x = (\n")
    fails(r"'broken.py' fails in .*broken.py, line 1 \(SyntaxError", "broken.py")
    (folder / "broken.py").write_text("import toy_absent\n")
    fails(r"'broken.py' fails in .*, line 1 \(ModuleNotFoundError: No module named 'toy_absent'", "broken.py")

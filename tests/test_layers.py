"""The architecture, read from the source: who imports whom, what is imported where, and what stands nowhere."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("exflow", "configs", "tests", "benchmarks", "experiments")
MODULES = {path: path.relative_to(ROOT) for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))}
EXFLOW = [path for path, relative in MODULES.items() if relative.parts[0] == "exflow"]
TEXTS = [
    *MODULES,
    *(path for path in sorted(ROOT.glob("*")) if path.suffix in (".md", ".toml") or path.name == "LICENSE"),
    *(path for folder in (".ci", "experiments") for path in sorted((ROOT / folder).rglob("*")) if path.suffix in ("", ".md")),
]

# What each part of the package may import from it, besides itself.
BASE = {"errors", "typing"}
LAYERS = {
    "errors": set(),
    "typing": set(),
    "__init__": {"api"},  # when `exflow.load` is first used
    "config": {"errors"},
    "core": BASE,
    "nn": BASE | {"core"},
    "models": BASE | {"core", "nn"},
    "data": BASE | {"core"},
    "evaluation": BASE | {"config", "core", "data", "models"},
    "training": BASE | {"config", "core", "data", "models", "evaluation"},
    "api": BASE | {"config", "core", "data", "models", "evaluation", "training"},
    "main": {"errors", "config", "training"},
}
STANDARD = sys.stdlib_module_names
# Packages from outside that a part may use; parts that are not listed may use any that is declared.
OUTSIDE = {
    "errors": set(),
    "typing": {"jaxtyping"},
    "config": {"ml_collections"},
    "core": {"jax", "jaxtyping"},
    "main": set(),
}
FLAX = {"flax", "optax", "orbax"}
TENSORFLOW = {"tensorflow", "tensorflow_datasets"}
TENSORFLOW_FILES = {"exflow/data/tfdata.py", "exflow/data/tfds_sets.py"}


def part_of(path: Path) -> str:
    """Name of the part of exflow that a file belongs to."""
    return MODULES[path].parts[1].removesuffix(".py")


def imports(path: Path, *, at_top: bool = False) -> Iterator[str]:
    """Dotted names of the modules that a file imports, `from a import b` as "a.b"; at_top: not inside functions."""
    tree = ast.parse(path.read_text())
    inside = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _only_for_types(node)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if at_top and node in inside:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{MODULES[path]}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def top_level(names: Iterator[str]) -> set[str]:
    """First words of dotted names."""
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", EXFLOW, ids=str)
def test_each_layer_imports_only_the_layers_below(path):
    part = part_of(path)
    assert part in LAYERS, f"exflow.{part} is new: give it a place in LAYERS"
    inner = {name.split(".")[1] for name in imports(path) if name.startswith("exflow.")} - {part}
    assert inner <= LAYERS[part], f"exflow.{part} must not import {inner - LAYERS[part]}"


@pytest.mark.parametrize("path", EXFLOW, ids=str)
def test_packages_from_outside(path):
    part = part_of(path)
    outside = top_level(imports(path)) - STANDARD - {"exflow"}
    if part in OUTSIDE:
        assert outside <= OUTSIDE[part]
    if part in ("data", "core"):
        assert not outside & FLAX
    if str(MODULES[path]) not in TENSORFLOW_FILES:
        assert not outside & TENSORFLOW
    assert not top_level(imports(path, at_top=True)) & (TENSORFLOW | {"matplotlib"}), "import it where it is used"
    assert not outside & set(FOLDERS), "the package stands alone"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_nothing_that_the_design_rules_out(path):
    names = set(imports(path))
    banned = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "distrax", "tensorflow_probability", "haiku", "equinox"}
    assert not top_level(iter(names)) & banned
    assert "__future__.annotations" not in names, "annotations are evaluated: jaxtyping checks them"
    tree = ast.parse(path.read_text())
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    words = attributes | {word for name in names for word in name.split(".")}
    assert not words & {"pmap", "nnx", "PRNGKey"} - {"PRNGKey" if "exflow.typing.PRNGKey" in names else ""}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert ast.unparse(node.value) == "False"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_files_are_short(path):
    limit = 80 if MODULES[path] == Path("exflow/main.py") else 350
    assert len(path.read_text().splitlines()) <= limit, "one idea per file: split it"


@pytest.mark.parametrize("path", TEXTS, ids=str)
def test_no_folder_of_one_machine_is_named(path):
    found = re.findall(r"(?<![\w.~}])/(?:home|root|tmp|work)\b/?[^\s\"')]*", path.read_text())
    assert not found


def test_the_checks_see_the_package():
    assert {part_of(path) for path in EXFLOW} >= {"core", "nn", "models", "data", "training", "evaluation", "main"}

"""The architecture, read from the source: who imports whom, what is imported where, and what stands nowhere.

Every test lists all violations at once, as "file: what".
"""

import ast
import re
import statistics
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("exflow", "configs", "tests", "benchmarks", "experiments")
MODULES = [path.relative_to(ROOT) for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
EXFLOW = [path for path in MODULES if path.parts[0] == "exflow"]
TEXTS = [
    *MODULES,
    *(path.relative_to(ROOT) for path in sorted(ROOT.glob("*")) if path.suffix in (".md", ".toml")),
    *(path.relative_to(ROOT) for path in sorted((ROOT / "experiments").rglob("*")) if path.suffix in (".md", ".json")),
    Path(".ci/run"),
]

# What each part of the package may import from it, besides itself.
BASE = {"errors", "typing"}
LAYERS = {
    "errors": set(),
    "typing": set(),
    "processor": set(),
    "program": {"errors"},
    "compilation_cache": {"processor"},
    "xla_flags": set(),
    "imports": {"errors"},  # modules of the user
    "__init__": {"api"},  # when `exflow.load` is first used
    "config": {"errors", "imports"},
    "core": BASE,
    "codes": BASE,
    "model": BASE | {"codes", "core"},
    "nn": BASE | {"core"},
    "models": BASE | {"core", "model", "nn"},
    "data": BASE | {"core", "imports", "program"},
    "evaluation": BASE | {"config", "core", "data", "model", "models", "nn", "processor", "xla_flags"},
    "training": BASE
    | {"compilation_cache", "config", "core", "data", "model", "models", "processor", "program", "xla_flags"},
    "loading": BASE | {"config", "model", "models", "training"},
    "input_checks": BASE | {"model"},
    "raw_images": BASE | {"data"},
    "set_state": BASE | {"model"},
    "padding": BASE | {"evaluation", "input_checks", "model"},
    "image_model": BASE | {"evaluation", "input_checks", "model", "models", "padding", "raw_images"},
    "set_scores": BASE | {"code_edits", "evaluation", "image_model", "input_checks", "model", "padding"},
    "code_edits": BASE | {"core", "evaluation", "image_model", "input_checks", "model"},
    "warmup": BASE | {"evaluation", "padding"},
    "api": BASE
    | {"compilation_cache", "evaluation", "image_model", "input_checks", "loading", "model", "padding"}
    | {"set_scores", "set_state", "warmup", "xla_flags"},
    "finetuning": BASE | {"config", "loading", "training"},
    "modes": BASE | {"finetuning", "loading", "data", "evaluation", "model", "training"},
    "main": {"errors", "config", "modes", "program"},
}
# Packages from outside that a part may use; parts that are not listed may use any that is declared.
OUTSIDE = {
    "errors": set(),
    "typing": {"jaxtyping"},
    "processor": set(),
    "program": set(),
    "imports": set(),
    "config": {"ml_collections"},
    # numpy: masks, which are constants of the compiled program; with scipy, float64 of what is fitted once on the host
    "core": {"jax", "jaxtyping", "numpy", "scipy"},
    "main": {"ml_collections"},
}
FLAX = {"flax", "optax", "orbax"}
TENSORFLOW = {"tensorflow", "tensorflow_datasets"}
TENSORFLOW_FILES = {"exflow/data/pipelines/tfdata.py", "exflow/data/tfds.py"}
WITHOUT_CIRCLES = {"config", "core", "data", "evaluation", "models", "nn", "training"}  # packages of exflow
DISTRIBUTIONS = {
    "PIL": "pillow",
    "orbax": "orbax_checkpoint",
    "sklearn": "scikit_learn",
}  # where the name to install is another
BANNED_PACKAGES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "distrax", "tensorflow_probability", "haiku"}
BANNED_NAMES = {"pmap", "nnx"}
MAX_LINES = {"exflow/main.py": 80}
MACHINE_FOLDER = re.compile(r"(?<![\w.~}])/(?:home|root|tmp|work)/\S*")


# Where a family may be named: its own rooms, and the line that registers it.
FAMILIES = sorted(path.stem for path in (ROOT / "exflow/config/families").glob("[!_]*.py"))
FAMILY_ROOMS = [Path("exflow/config/families"), Path("exflow/models/registry.py")]
FAMILY_ROOMS += [Path("exflow/models") / family for family in FAMILIES]
FAMILY_WORDS = re.compile("|".join([*FAMILIES, "statistician", "scha"]))


def code_words(path: Path) -> Iterator[str]:
    """Names, attributes, arguments and strings of a file, its docstrings and imports left out."""
    docstrings = {
        id(node.body[0].value)
        for node in nodes(path)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in nodes(path):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.arg | ast.keyword) and node.arg:
            yield node.arg
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def part_of(path: Path) -> str:
    """Name of the part of exflow that a file belongs to."""
    return path.parts[1].removesuffix(".py")


@cache
def parsed(path: Path) -> ast.Module:
    """Syntax tree of a file."""
    return ast.parse((ROOT / path).read_text())


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a file."""
    return tuple(ast.walk(parsed(path)))


def imports(path: Path, *, at_import_time: bool = False, for_types: bool = True) -> Iterator[str]:
    """Dotted names that a file imports, `from a import b` as "a.b", those given to `import_module` as text included.

    Args:
      path: Of the file.
      at_import_time: Only those outside functions that are not for types alone.
      for_types: Also those for types alone.
    """
    skipped = set()
    for node in nodes(path):
        only_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if only_for_types and (at_import_time or not for_types):
            skipped.update(part for statement in node.body for part in ast.walk(statement))
        if at_import_time and isinstance(node, ast.FunctionDef):
            skipped.update(ast.walk(node))
        if node in skipped:
            continue
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "import_module":
            yield from (name.value for name in node.args[:1] if isinstance(name, ast.Constant))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names)


def packages(names: Iterator[str]) -> set[str]:
    """First words of dotted names, the standard library left out."""
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names


def test_each_layer_imports_only_the_layers_below():
    unplaced = {part_of(path) for path in EXFLOW} - set(LAYERS)
    assert not unplaced, "new parts of the package need a place in LAYERS"
    violations = []
    for path in EXFLOW:
        inner = {name.split(".")[1] for name in imports(path) if name.startswith("exflow.")} - {part_of(path)}
        violations += [f"{path}: exflow.{name}" for name in sorted(inner - LAYERS[part_of(path)])]
    assert violations == []


def module_name(path: Path) -> str:
    """Dotted name of a file of the repository."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def circles(importers: dict[str, set[str]]) -> list[str]:
    """Chains of modules that import each other, "a -> b -> a"; each circle once, from its first name."""
    found: set[str] = set()

    def follow(chain: tuple[str, ...]) -> None:
        for name in sorted(importers[chain[-1]]):
            if name == chain[0]:
                found.add(" -> ".join((*chain, name)))
            elif name > chain[0] and name not in chain and chain[0] in reachable[name]:
                follow((*chain, name))

    reachable = {name: set(targets) for name, targets in importers.items()}
    for _ in importers:
        reachable = {name: near.union(*(reachable[other] for other in near)) for name, near in reachable.items()}
    for name in importers:
        if name in reachable[name]:
            follow((name,))
    return sorted(found)


@pytest.mark.parametrize("part", sorted(WITHOUT_CIRCLES))
def test_no_modules_of_a_package_import_each_other_in_a_circle(part):
    names = {module_name(path): path for path in EXFLOW if part_of(path) == part}
    importers = {}
    for name, path in names.items():
        found = imports(path, for_types=False)
        targets = {target if target in names else target.rpartition(".")[0] for target in found}
        importers[name] = targets & set(names)
    assert circles(importers) == []


def test_a_family_imports_no_other():
    violations = []
    for path in EXFLOW:
        own = [family for family in FAMILIES if Path("exflow/models", family) in path.parents]
        for other in set(FAMILIES) - set(own) if own else ():
            violations += [
                f"{path}: {name}" for name in imports(path) if f"{name}.".startswith(f"exflow.models.{other}.")
            ]
    assert violations == []


def test_circles_are_found():
    importers = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"b"}, "e": {"e"}, "f": {"a"}}
    assert circles(importers) == ["a -> b -> c -> a", "b -> d -> b", "e -> e"]


def test_packages_from_outside_stay_in_their_layers():
    violations = []
    for path in EXFLOW:
        part, outside = part_of(path), packages(imports(path)) - {"exflow"}
        wrong = outside - OUTSIDE.get(part, outside)
        wrong |= outside & FLAX if part in ("core", "data") else set()
        wrong |= outside & TENSORFLOW if str(path) not in TENSORFLOW_FILES else set()
        wrong |= outside & set(FOLDERS)
        violations += [f"{path}: {name}" for name in sorted(wrong)]
    assert violations == []


def test_every_package_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["metrics"]  # imported where it is used, below
    declared = {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in lines}
    imported = {name for path in EXFLOW for name in packages(imports(path))} - {"exflow"}
    assert {DISTRIBUTIONS.get(name, name) for name in imported} - declared == set()


def test_tensorflow_matplotlib_and_extras_are_imported_where_they_are_used():
    slow = TENSORFLOW | {"matplotlib", "sklearn"}
    found = {str(path): slow & packages(imports(path, at_import_time=True)) for path in EXFLOW}
    assert {path: names for path, names in found.items() if names} == {}


def test_nothing_that_the_design_rules_out():
    violations = []
    for path in MODULES:
        names = set(imports(path))
        attributes = {node.attr for node in nodes(path) if isinstance(node, ast.Attribute)}
        wrong = BANNED_PACKAGES & {name.partition(".")[0] for name in names}
        wrong |= BANNED_NAMES & (attributes | {word for name in names for word in name.split(".")})
        wrong |= {name for name in names if name.startswith(".")}  # relative imports
        wrong |= {"__future__.annotations"} & names  # annotations must be evaluated for jaxtyping
        for node in nodes(path):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
                wrong.add("allow_pickle")
        violations += [f"{path}: {name}" for name in sorted(wrong)]
    assert violations == []


def test_no_two_classes_share_a_name():
    places: dict[str, list[str]] = {}
    for path in EXFLOW:
        for node in nodes(path):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_files_are_short():
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in MODULES}
    assert {path: length for path, length in lengths.items() if length > MAX_LINES.get(path, 350)} == {}


def test_half_of_the_files_are_shorter_than_130_lines():
    lengths = [len((ROOT / path).read_text().splitlines()) for path in EXFLOW if path.name != "__init__.py"]
    assert statistics.median(lengths) < 130


def test_generic_code_names_no_family():
    """Names, attributes and strings that are no docstrings: a family is asked for by capability."""
    found = []
    for path in EXFLOW:
        if not any(path.is_relative_to(room) for room in FAMILY_ROOMS):
            found += [
                f"{path}: {word}"
                for word in code_words(path)
                if FAMILY_WORDS.search(re.sub(r"configs/\S+", "", word.lower()))
            ]
    assert found == []


def test_nothing_is_dispatched_by_getattr():
    found = []
    for path in EXFLOW:
        for node in nodes(path):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr"
            if called and not isinstance(node.args[1], ast.Constant):
                found.append(f"{path}: {ast.unparse(node)}")
    assert found == []


def test_capabilities_are_typed():
    words = list(code_words(Path("exflow/model.py")))
    assert "Any" not in words
    assert {"SetFunctions", "LatentFunctions"} <= set(words)


def test_no_folder_of_one_machine_is_named():
    found = {str(path): MACHINE_FOLDER.findall((ROOT / path).read_text()) for path in TEXTS}
    assert {path: words for path, words in found.items() if words} == {}


def test_the_checks_see_the_package():
    assert {part_of(path) for path in EXFLOW} == set(LAYERS)
    assert packages(imports(Path("tests/typechecking.py"))) == {"beartype", "jaxtyping"}
    assert MACHINE_FOLDER.findall("see " + "/ho" + "me/somebody/data") == ["/ho" + "me/somebody/data"]

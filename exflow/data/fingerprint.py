"""Short digests of values, and of the source of a builder, that are the same in another process.

The source of a builder is the text of its module and of the modules of the same project that it imports, directly or
not; the plumbing of this package, which makes no pixels, is left out.
"""

import ast
import hashlib
import re
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path, PurePath
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

PLUMBING = {f"exflow.data.{name}" for name in ("fingerprint", "labelled", "prepared", "provenance", "registry")} | {
    "exflow.errors"
}
INSTALLED = ("site-packages", "dist-packages")  # folders whose modules belong to many projects
DIGITS = 16  # of a digest, hexadecimal


def digest(text: str | bytes) -> str:
    """Short digest of a text."""
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return hashlib.sha256(content).hexdigest()[:DIGITS]


def encode(value: Any, outer: tuple[Any, ...] = ()) -> str:
    """A value as text that no other value of any type has.

    Objects of types that are not known here are told apart by their type and `repr`, without addresses in memory.

    Args:
      value: Anything.
      outer: Functions that have captured the value, directly or not.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, PurePath):
        return f"path {str(value)!r}"
    if isinstance(value, np.ndarray) and value.dtype != object:
        return f"array {value.dtype.str} {value.shape} {digest(np.ascontiguousarray(value).tobytes())}"
    if isinstance(value, partial):
        return f"partial {encode((value.func, value.args, value.keywords), outer)}"
    if isinstance(value, MethodType):
        return f"method {encode((value.__func__, vars(value.__self__)), outer)}"
    if isinstance(value, FunctionType):
        captured = [] if value in outer else _captured(value)
        return f"function {value.__qualname__} {_body(value)} {encode(captured, (*outer, value))}"
    if isinstance(value, CodeType):
        return f"code {digest(value.co_code)} {encode((value.co_consts, value.co_names))}"
    kind = type(value).__qualname__
    if isinstance(value, tuple | list):
        return f"{kind}[{', '.join(encode(one, outer) for one in value)}]"
    if isinstance(value, dict):
        pairs = (f"{encode(key, outer)}: {encode(one, outer)}" for key, one in value.items())
        return f"{kind}{{{', '.join(sorted(pairs))}}}"
    if isinstance(value, set | frozenset):
        return f"{kind}{{{', '.join(sorted(encode(one, outer) for one in value))}}}"
    return f"{kind} {re.sub(r' at 0x[0-9a-fA-F]+', '', repr(value))}"


def source_of(build: Callable) -> str:
    """Digest of a builder: its text, what it imports from its project, and the values that it has captured."""
    known = isinstance(build, FunctionType | MethodType | partial)
    return digest(encode(build if known else (type(build).__call__, vars(build))))


def _captured(function: FunctionType) -> list[Any]:
    """Values of the enclosing function, as far as they are known yet."""
    values = []
    for cell in function.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # assigned later
            continue
    return values


def _body(function: FunctionType) -> str:
    """Digest of the text behind a function, or of its compiled form where there is no file, as in a notebook."""
    module = sys.modules.get(function.__module__)
    path = None if module is None else module.__dict__.get("__file__")
    if path is None or not Path(path).is_file():
        return digest(encode(function.__code__))
    return digest("\n".join(sorted(digest(_text(one)) for one in _project_files(Path(path).resolve()))))


@cache
def _project_files(path: Path) -> frozenset[Path]:
    """A file and all files of its project that it imports, directly or not."""
    root = _root(path)
    found, waiting = set(), [path]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += [target for name in _imports(one, root) if (target := _file(name, root, path)) is not None]
    return frozenset(found)


def _root(path: Path) -> Path:
    """The folder from which a file is imported."""
    return next(folder for folder in path.parents if not (folder / "__init__.py").is_file())


@cache
def _is_in(root: Path, package: str) -> bool:
    return (root / package).is_dir() or (root / f"{package}.py").is_file()


@cache
def _text(path: Path) -> str:
    """Text of a file when it was first asked for, which is when it was imported."""
    return path.read_text(encoding="utf-8", errors="replace")


@cache
def _imports(path: Path, root: Path) -> frozenset[str]:
    """Dotted names that a file imports, `from a import b` as "a.b"."""
    package, names = path.relative_to(root).parent.parts, set()
    for node in ast.walk(ast.parse(_text(path))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            inside = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*inside, *([node.module] if node.module else [])])
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return frozenset(names)


def _file(name: str, root: Path, start: Path) -> Path | None:
    """The file of a module, or of the module that has this attribute, if it belongs to the project of `start`."""
    parts = name.split(".")
    if name in PLUMBING or name.rpartition(".")[0] in PLUMBING or not _is_in(root, parts[0]):
        return None
    if root.name in INSTALLED and parts[0] != start.relative_to(root).with_suffix("").parts[0]:
        return None
    bases = [root.joinpath(*parts), root.joinpath(*parts[:-1])] if len(parts) > 1 else [root / name]
    files = [file for base in bases for file in (base.with_name(f"{base.name}.py"), base / "__init__.py")]
    return next((file.resolve() for file in files if file.is_file()), None)

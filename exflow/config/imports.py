"""`config.imports` while a config file runs: its folder is searched, and what lies there is stored by its path."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from exflow.imports import import_modules

_CONFIG_FOLDER: ContextVar[Path | None] = ContextVar("config_folder", default=None)


def import_and_resolve(names: Iterable[str]) -> tuple[str, ...]:
    """Import modules, each once, before a family or a data set that they register is looked up.

    Args:
      names: Of modules, or paths of .py files, relative to the config file that runs or to the current folder.

    Returns:
      The same so that they are found later, from any folder: files, and modules beside the config file, as absolute
      paths.

    Raises:
      UserError: There is no such module or file, or it fails; one line.
    """
    resolved = tuple(_resolve(name) for name in names)
    import_modules(resolved)
    return resolved


@contextmanager
def neighbours(folder: Path) -> Iterator[None]:
    """While a config file of this folder runs, it finds the modules beside it first; later, they find theirs last."""
    path = str(folder.resolve())
    token = _CONFIG_FOLDER.set(folder.resolve())
    sys.path.insert(0, path)
    try:
        yield
    finally:
        _CONFIG_FOLDER.reset(token)
        sys.path.remove(path)
        if path not in sys.path:
            sys.path.append(path)


def _resolve(name: str) -> str:
    folders = [folder for folder in (_CONFIG_FOLDER.get(), Path.cwd()) if folder is not None]
    if name.endswith(".py"):
        found = [folder / Path(name).expanduser() for folder in folders]
    else:
        inside = [folder / name.replace(".", "/") for folder in folders[:-1]]
        found = [path for base in inside for path in (base.with_name(f"{base.name}.py"), base / "__init__.py")]
    return next((str(path.resolve()) for path in found if path.is_file()), name)

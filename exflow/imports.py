"""Importing modules of the user, so that the data sets and models that they register are known by name."""

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from exflow.errors import UserError


def import_modules(names: Sequence[str], folders: Sequence[Path] = (), origin: str = "config.imports") -> None:
    """Import modules that register something; each once, however often it is asked for.

    Args:
      names: Names of modules, such as "my_package.shapes", or paths of files, such as "shapes.py". A file finds the
        modules beside it.
      folders: Where relative paths are looked for after the current folder: that of the config file, for instance.
      origin: What the names come from, for messages.

    Raises:
      UserError: If a module or file is missing, or fails while it is imported; names it and the line.
    """
    for name in names:
        path = _find(name, folders, origin) if name.endswith(".py") else None
        try:
            if path is None:
                importlib.import_module(name)
            else:
                _import_file(path)
        except UserError:
            raise
        except Exception as error:
            parents = {name.rsplit(".", count)[0] for count in range(name.count(".") + 1)}
            if path is None and isinstance(error, ModuleNotFoundError) and error.name in parents:
                raise UserError(
                    f"{origin}: there is no module {name!r}. Install it, add its folder to PYTHONPATH, or give the "
                    "path of its .py file."
                ) from error
            where = traceback.extract_tb(error.__traceback__)[-1]
            file, line = (
                (error.filename, error.lineno) if isinstance(error, SyntaxError) else (where.filename, where.lineno)
            )
            reason = " ".join(str(error).split())
            raise UserError(
                f"{origin}: {name!r} fails in {file}, line {line} ({type(error).__name__}: {reason}). Correct it."
            ) from error


def _find(name: str, folders: Sequence[Path], origin: str) -> Path:
    """The file of a path, absolute."""
    given = Path(name).expanduser()
    for folder in (Path.cwd(), *folders):
        if (folder / given).is_file():
            return (folder / given).resolve()
    searched = "" if given.is_absolute() else f" in {' or '.join(map(str, (Path.cwd(), *folders)))}"
    raise UserError(f"{origin}: there is no file {name!r}{searched}. Correct the path, or give the absolute one.")


def _import_file(path: Path) -> None:
    """Run a file as a module under a name of its own, or inside its package; the search path gains its folder."""
    if any(getattr(module, "__file__", None) == str(path) for module in [*sys.modules.values()]):
        return
    root = next(folder for folder in path.parents if not (folder / "__init__.py").is_file())
    if str(root) not in sys.path:
        sys.path.append(str(root))
    if root != path.parent:
        importlib.import_module(".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"))
        return
    module_name = f"exflow_import_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise

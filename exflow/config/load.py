"""Finding and running config files."""

import re
import runpy
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from exflow.config.base import base_config
from exflow.config.families import families
from exflow.config.flat import flatten
from exflow.config.imports import import_and_resolve, neighbours
from exflow.config.overrides import nearest, set_from_text, set_value
from exflow.config.renamed import told_in
from exflow.config.validation import validate
from exflow.errors import UserError

PACKAGE = Path(__file__).resolve().parent.parent


def load_config(spec: str, overrides: Iterable[tuple[str, str]] = ()) -> ConfigDict:
    """Resolve a configuration: the file's `get_config()`, then its variant, then the overrides.

    Args:
      spec: "path/to/file.py", "path/to/file.py:variant" or the bare name of a config that comes with exflow,
        such as "bruno_glyphs:smoke".
      overrides: Dotted keys and values as text, such as ("training.num_steps", "32").

    Returns:
      Validated and locked configuration with `name` and `variant` filled in.

    Raises:
      UserError: One line: no such file, variant or key, a value of the wrong type or out of range, a file that fails.
    """
    path, variant = _split(spec)
    path = find_config(path)
    config, variants = _run(path)
    if variant and variant not in variants:
        known = ", ".join(f":{name}" for name in variants) or "none"
        raise UserError(f"--config: {path.name} has no variant {variant!r}. Its variants: {known}.")
    with config.unlocked():
        config.name, config.variant = path.stem, variant
    for key, value in variants.get(variant, {}).items():
        set_value(config, key, value)
    for key, text in overrides:
        set_from_text(config, key, text)
    with config.unlocked():
        config.imports = import_and_resolve(config.get("imports", ()))
    validate(config)
    return config.lock()


def available_configs() -> list[str]:
    """Names of the configs that come with exflow."""
    return sorted(path.stem for path in _bundled_folder().glob("[!_]*.py"))


def variants_of(path: str) -> dict[str, dict[str, Any]]:
    """Variants of a config file, each with the dotted keys that it sets."""
    return _run(find_config(path))[1]


def find_config(path: str) -> Path:
    """The config file `path`, or the one of that name that comes with exflow.

    A file that exists wins. Otherwise "name", "name.py" and "configs/name.py" mean a bundled config, so that the
    documented commands work in any folder.

    Raises:
      UserError: No such file; lists the bundled configs.
    """
    given = Path(path).expanduser()
    if given.is_file():
        return given
    if given.parent in (Path("."), Path("configs")):
        bundled = _bundled_folder() / f"{given.name.removesuffix('.py')}.py"
        if bundled.is_file():
            return bundled
    known = ", ".join(f"configs/{name}.py" for name in available_configs())
    raise UserError(f"--config: no file {path!r}. Configs that come with exflow: {known}.")


def _split(spec: str) -> tuple[str, str]:
    path, variant = re.fullmatch(r"(.*?)(?::(\w*))?", spec, re.DOTALL).groups()  # type: ignore[union-attr]
    return path, variant or ""


def _bundled_folder() -> Path:
    """`exflow/_configs` of an installed wheel, or `configs` beside the package in a checkout."""
    installed = PACKAGE / "_configs"
    return installed if installed.is_dir() else PACKAGE.parent / "configs"


def _run(path: Path) -> tuple[ConfigDict, dict[str, dict[str, Any]]]:
    """Execute a config file: its configuration and its variants. Errors in it are told in one line."""
    try:
        with neighbours(path.parent):
            namespace = runpy.run_path(str(path))
            config = namespace["get_config"]() if "get_config" in namespace else None
    except UserError:
        raise
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno
        if frames and (advice := told_in(frames[-1].line or "")):
            raise UserError(f"{path}, line {line}: {advice}.") from error
        if unknown := re.search(r'Key "(\w+)" does not exist and cannot be added', str(error)):
            known = {key for family in families() for key in flatten(base_config(family))}
            near = " or ".join(f"config.{key}" for key in nearest(unknown[1], known))
            raise UserError(f"{path}, line {line}: no key {unknown[1]!r} here. Did you mean {near}?") from error
        reason = " ".join(str(error).split()).strip("'")
        raise UserError(f"{path}, line {line}: {type(error).__name__}: {reason}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"{path}: expected a function get_config() that returns base_config(), changed. See exflow.config."
        )
    return config, namespace.get("VARIANTS", {})

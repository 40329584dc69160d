"""What each family of models adds to the configuration: one file here per family, found without a list to edit.

A family that lives in a module of one's own, named in `config.imports`, registers itself there:

    register_family("codes", Family(model={"num_bits": 8}, objective={"commitment": 1.0}))

Then `base_config("codes")` has `config.model.codes.num_bits` and `config.objective.commitment`.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from ml_collections import ConfigDict

from exflow.config.checks import Interval
from exflow.errors import UserError

Section = Mapping[str, bool | int | float | str | tuple]


class Family(NamedTuple):
    """The part of a configuration that only models of one family read. Keys are dotted where they are of any section.

    Attributes:
      model: Keys of the section `config.model.<family>` with their defaults.
      objective: Keys of `config.objective`.
      groups: Optimiser groups besides "main", each a section of `config.optimizer.groups`.
      choices: Dotted keys -> allowed words.
      intervals: Dotted keys -> allowed numbers.
      check: Refuses contradictions with a `UserError`, after choices and intervals have been checked.
      incidental: Keys of `model` that say how parameters are found, computed or asked, not what they mean.
      renamed: Old dotted names -> new ones; "" where nothing took their place.
    """

    model: Section = MappingProxyType({})
    objective: Section = MappingProxyType({})
    groups: tuple[str, ...] = ()
    choices: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    intervals: Mapping[str, Interval] = MappingProxyType({})
    check: Callable[[ConfigDict], None] = lambda config: None
    incidental: tuple[str, ...] = ()
    renamed: Mapping[str, str] = MappingProxyType({})


_REGISTERED: dict[str, Family] = {}


def register_family(name: str, family: Family) -> None:
    """Add a family that is no file of this folder, or replace one that was added.

    Raises:
      UserError: exflow has a family of that name.
    """
    if name in _packaged():
        raise UserError(f"register_family: {name!r} is a family of exflow. Choose another name.")
    _REGISTERED[name] = family


def find_family(name: str) -> Family:
    """The family of that name.

    Raises:
      UserError: There is none; lists those that are known.
    """
    known = families()
    if name not in known:
        raise UserError(
            f"config.model.family: expected one of {', '.join(known)}, got {name!r}. "
            "A family of your own: name its module in config.imports."
        )
    return known[name]


def families() -> dict[str, Family]:
    """All families by name, those of exflow first."""
    return {name: importlib.import_module(f"{__name__}.{name}").FAMILY for name in _packaged()} | _REGISTERED


def _packaged() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))

"""Old names of keys: one table per family, for the command line, variants, config files and stored configurations.

A key that is renamed gets a line in its family's `renamed` (or in `SHARED` below); every reader then knows it.
"""

import re
from typing import Any

from exflow.config.families import families, find_family
from exflow.errors import UserError

SHARED: dict[str, str] = {}  # old dotted names of keys that every family has -> new ones; "": gone


def table(family: str) -> dict[str, str]:
    """Old dotted names -> new ones, of configurations of a family; "" where nothing took their place."""
    return SHARED | dict(find_family(family).renamed)


def new_name(family: str, key: str) -> str:
    """The present name of a dotted key.

    Raises:
      UserError: The key is gone.
    """
    name = table(family).get(key, key)
    if not name:
        raise UserError(f"config.{key}: this key is gone, nothing reads it. Leave it out.")
    return name


def told_in(source: str) -> str:
    """What to write in place of the old names in a line of a config file; "" if there are none."""
    advice = {
        old: f"config.{old} is now config.{new}" if new else f"config.{old} is gone, leave it out"
        for name in families()
        for old, new in table(name).items()
        if re.search(rf"\bconfig\.{re.escape(old)}\b", source)
    }
    return "; ".join(advice.values())


def convert(family: str, flat: dict[str, Any]) -> dict[str, Any]:
    """Stored dotted keys and values under their present names.

    Until `imports` was a key, a file held the keys of all families: then those of the others are dropped.

    Args:
      family: Of the configuration.
      flat: As stored by this or an earlier version.

    Returns:
      The same under present names; keys that nobody knows are the user's own and stay.
    """
    names = table(family)
    present = {key: value for key, value in flat.items() if key not in names}
    if "imports" not in flat:
        foreign = set().union(*(known(name) for name in families() if name != family)) - known(family)
        present = {key: value for key, value in present.items() if key not in foreign}
    return present | {names[key]: value for key, value in flat.items() if names.get(key)}


def known(family: str) -> set[str]:
    """Dotted keys that only some families have, under old and present names, and that this one has."""
    own = find_family(family)
    return (
        {f"model.{family}.{key}" for key in own.model} | {f"objective.{key}" for key in own.objective} | {*own.renamed}
    )

"""A configuration as dotted keys and values."""

from typing import Any

from ml_collections import ConfigDict


def flatten(config: ConfigDict, prefix: str = "") -> dict[str, Any]:
    """Dotted keys and values of all entries, sections left out."""
    flat = {}
    for key, value in config.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, ConfigDict) else {f"{prefix}{key}": value}
    return flat


def put(config: ConfigDict, dotted: str, value: Any) -> None:
    """Set the entry of a dotted key; sections on the way that do not exist are made, unless `config` is locked."""
    *sections, leaf = dotted.split(".")
    for section in sections:
        if section not in config:
            config[section] = ConfigDict()
        config = config[section]
    config[leaf] = value

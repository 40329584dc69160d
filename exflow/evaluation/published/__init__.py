"""Published numbers, one data file per model family, and to which of our results each belongs.

A file holds groups of rows; a row has a name, the numbers of one published model by the names of entries of
`results.json`, and in `when` what a configuration must say for its results to stand beside them: key -> value, or
{"above": number}, or {"starts_with": text}. What is in `when` of the group holds for all its rows. A row without any
`when` is attached to nothing and only read by name. `note` is added to the source of the group's numbers unless the
configuration is as in `no_note_when`.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

FOLDER = Path(__file__).parent


class Row(NamedTuple):
    """Published numbers of one model."""

    name: str
    source: str
    results: Mapping[str, float]  # by name of the entry
    when: Mapping[str, Any] | None  # key of a configuration -> what it must be; None: belongs to no configuration
    note: str
    no_note_when: Mapping[str, Any]


@functools.cache
def rows(family: str) -> tuple[Row, ...]:
    """All published numbers of a model family, none where there is no file."""
    path = FOLDER / f"{family}.json"
    groups = json.loads(path.read_text())["groups"] if path.is_file() else []
    return tuple(
        Row(
            row["name"],
            row.get("source", group["source"]),
            row["results"],
            {**group["when"], **row["when"]} if "when" in row else None,
            group.get("note", ""),
            group.get("no_note_when", {}),
        )
        for group in groups
        for row in group["rows"]
    )


def numbers(family: str, name: str) -> Mapping[str, float]:
    """Published numbers of a model family by the name of their row, none where there is no such row."""
    return next((row.results for row in rows(family) if row.name == name), {})


def find(config: ConfigDict, entry: str) -> dict[str, Any] | None:
    """The published number that belongs to a result of a configuration.

    Args:
      config: Complete configuration.
      entry: Name of the result in `results.json`.

    Returns:
      `{"value", "source"}`; None unless data set, image size and protocol are those of the publication.
    """
    for row in rows(config.model.family):
        if entry in row.results and row.when is not None and _holds(config, row.when):
            note = "" if _holds(config, row.no_note_when) else row.note
            return {"value": row.results[entry], "source": row.source + note}
    return None


def _holds(config: ConfigDict, conditions: Mapping[str, Any]) -> bool:
    return all(_agrees(_value(config, key), wanted) for key, wanted in conditions.items())


def _value(config: ConfigDict, key: str) -> Any:
    """Value of a dotted key, None where there is none."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, ConfigDict) else None
    return value


def _agrees(value: Any, wanted: Any) -> bool:
    if value is None or not isinstance(wanted, dict):
        return value == wanted
    if "above" in wanted:
        return value > wanted["above"]
    return value.startswith(wanted["starts_with"])

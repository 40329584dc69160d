"""Setting single keys by their dotted names, from Python values (variants) or from text (the command line)."""

import ast
import difflib
import re
import shlex
from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict

from exflow.config.families import families
from exflow.config.flat import flatten, put
from exflow.config.renamed import known, new_name
from exflow.errors import UserError

BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def set_from_text(config: ConfigDict, key: str, text: str) -> None:
    """Set one key from the command line's text, read as the type that the key has.

    Args:
      config: Is changed.
      key: Dotted name, such as "training.num_steps"; old names are understood.
      text: What stood behind the equals sign. Whole numbers also as 1e4; tuples as in Python, with or without the
        parentheses: 1,5; nothing is the empty one. Names may stand without quotes: validation,test.

    Raises:
      UserError: No such key, or the text is not of the key's type.
    """
    key = new_name(config.model.family, key)
    current = _lookup(config, key)
    try:
        value = _parse(text, current)
    except (ValueError, SyntaxError):
        raise _wrong_type(key, current, text) from None
    set_value(config, key, value)


def set_value(config: ConfigDict, key: str, value: Any) -> None:
    """Set one key to a value of its type; an int will do for a float, a list for a tuple.

    Raises:
      UserError: No such key, or a value of another type.
    """
    key = new_name(config.model.family, key)
    current = _lookup(config, key)
    if isinstance(current, float) and type(value) is int:
        value = float(value)
    if isinstance(current, tuple) and isinstance(value, list):
        value = as_tuples(value)
    if current is not None and type(value) is not type(current):
        raise _wrong_type(key, current, value)
    put(config, key, value)


def as_tuples(value: Any) -> Any:
    """Lists, at any depth, as tuples."""
    return tuple(as_tuples(item) for item in value) if isinstance(value, list | tuple) else value


def nearest(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The dotted keys that somebody who wrote `word` may have meant, best first: likeness of whole and last word.

    Initials are better than any likeness: lr is learning_rate.
    """

    def likeness(key: str) -> float:
        given, leaf = word.rpartition(".")[2], key.rpartition(".")[2]
        whole = difflib.SequenceMatcher(None, word, key).ratio()
        if "_" in leaf and given == "".join(part[:1] for part in leaf.split("_")):
            return whole + 2
        return whole + difflib.SequenceMatcher(None, given, leaf).ratio()

    ranked = sorted(known, key=likeness, reverse=True)[:count]
    return [key for key in ranked if likeness(key) > 0.8 * likeness(ranked[0])]


def _lookup(config: ConfigDict, key: str) -> Any:
    flat = flatten(config)
    if key in flat:
        return flat[key]
    inside = [known for known in flat if known.startswith(f"{key}.")]
    if inside:
        names = ", ".join(f"config.{known}" for known in inside)
        raise UserError(f"config.{key}: is a section, set one of its keys: {names}.")
    others = [name for name in families() if name != config.model.family and key in known(name)]
    if others:
        known_by, own = " or ".join(others), config.model.family
        raise UserError(
            f"config.{key}: is a key of models of the family {known_by}, this one is of {own}. "
            "Leave it out, or take a config of that family."
        )
    near = " or ".join(f"config.{known}" for known in nearest(key, flat))
    raise UserError(f"config.{key}: no such key. Did you mean {near}?")


def _parse(text: str, current: Any) -> Any:
    if isinstance(current, str):
        return text
    if isinstance(current, bool):
        if text.lower() not in BOOLEANS:
            raise ValueError(text)
        return BOOLEANS[text.lower()]
    if isinstance(current, int):
        return _whole_number(text)
    if isinstance(current, float):
        return float(text)
    if isinstance(current, tuple) and not text.strip():
        return ()
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        if not isinstance(current, tuple) or not all(isinstance(item, str) for item in current):
            raise
        return _words(text)
    if isinstance(current, tuple):
        return as_tuples(value) if isinstance(value, list | tuple) else (value,)
    return value


def _whole_number(text: str) -> int:
    """10000, 10_000 or 1e4."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise
        return int(number)


def _words(text: str) -> tuple[str, ...]:
    """Names between commas, with or without brackets around all of them, but no half a bracket or quote."""
    inner = re.fullmatch(r"\s*(?:\((.*)\)|\[(.*)\]|(.*))\s*", text, re.DOTALL)
    assert inner is not None
    found = next(group for group in inner.groups() if group is not None)
    if re.search(r"[\"'()\[\]]", found):
        raise ValueError(text)
    return tuple(word.strip() for word in found.split(",") if word.strip())


def as_text(value: Any) -> str:
    """A value as the command line takes it, quoted for a shell where that is needed."""
    plain = isinstance(value, tuple) and all(isinstance(item, str | int | float) for item in value)
    return shlex.quote(",".join(map(str, value)) if plain else str(value).replace(" ", ""))


def _wrong_type(key: str, current: Any, value: Any) -> UserError:
    name = "True or False" if isinstance(current, bool) else type(current).__name__
    return UserError(f"config.{key}: expected {name}, got {value!r}. For example: --config.{key}={as_text(current)}")

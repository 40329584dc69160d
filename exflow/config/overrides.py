"""Setting single keys by their dotted names, from Python values (variants) or from text (the command line)."""

import ast
import difflib
import re
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
      text: What stood behind the equals sign. Tuples as in Python, with or without the parentheses: 1,5.
        Names may stand without quotes: validation,test.

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
    """The dotted keys that somebody who wrote `word` may have meant, best first: likeness of whole and last word."""

    def likeness(key: str) -> float:
        leaves = word.rpartition(".")[2], key.rpartition(".")[2]
        pairs = ((word, key), leaves)
        return sum(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)

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
        raise UserError(
            f"config.{key}: is a key of models of the family {others[0]}, this one is of {config.model.family}. "
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
        return int(text)
    if isinstance(current, float):
        return float(text)
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        words = isinstance(current, tuple) and all(isinstance(item, str) for item in current)
        if not words or re.search(r"[\"'()\[\]]", text):
            raise
        return tuple(word.strip() for word in text.split(",") if word.strip())
    if isinstance(current, tuple):
        return as_tuples(value) if isinstance(value, list | tuple) else (value,)
    return value


def _wrong_type(key: str, current: Any, value: Any) -> UserError:
    name = {True: "True or False"}.get(isinstance(current, bool), type(current).__name__)
    example = str(current).replace(" ", "")
    return UserError(f"config.{key}: expected {name}, got {value!r}. For example: --config.{key}={example}")

"""Options of data sets as text: "num_train=100, invert=False, root=/data/letters, sizes=(28, 32), name='a, b'"."""

import ast
import inspect
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exflow.errors import UserError

OPENING = tuple("\"'([{")  # what starts with these is a Python literal, which may hold commas
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
WORDS = {bool: "True or False", types.NoneType: "None"}  # in messages; other types have their names


def split_text(text: str) -> dict[str, str | None]:
    """Key and text of every option, None without "="; commas inside quotes and brackets belong to the value.

    Raises:
      UserError: A quote or bracket is not closed, or a key stands twice.
    """
    found: dict[str, str | None] = {}
    pending = ""
    for piece in text.split(","):
        pending = f"{pending},{piece}" if pending else piece
        key, equals, value = map(str.strip, pending.partition("="))
        if not pending.strip() or (value.startswith(OPENING) and _literal(value) is None):
            continue
        if key in found:
            raise UserError(f"config.data.options: {key} stands twice. Leave one out.")
        found[key], pending = value if equals else None, ""
    if pending.strip():
        raise UserError(
            f"config.data.options: {pending.strip()!r} has an open quote or bracket. Close it, or put the value in "
            "quotes."
        )
    return found


def read_options(name: str, text: str, parameters: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """Values of options of the data set `name`, each of the type of its parameter.

    The type is what the parameter is annotated with, or else that of its default; any literal, or else text, where
    neither tells.

    Raises:
      UserError: The text cannot be read, an option is not known, or a value is not of the type.
    """
    options = {}
    for key, value in split_text(text).items():
        if key not in parameters:
            raise UserError(f"{name}: has no option {key!r}. Its options: {', '.join(parameters) or 'none'}.")
        kinds = _kinds(parameters[key])
        for kind in kinds:
            try:
                options[key] = _read(kind, value, parameters[key].default)
                break
            except (ValueError, TypeError, KeyError):
                continue
        else:
            got = key if value is None else f"{key}={value}"
            words = " or ".join(WORDS.get(kind, kind.__name__) for kind in kinds)
            raise UserError(f"config.data.options: expected {key}={words} for {name}, got {got!r}.")
    return options


def _kinds(parameter: inspect.Parameter) -> list[type]:
    """Types that a parameter may have, text last, which everything could be; `object` stands for any."""
    annotation, default = parameter.annotation, parameter.default
    if typing.get_origin(annotation) is typing.Literal:
        kinds = [type(choice) for choice in typing.get_args(annotation)]
    elif typing.get_origin(annotation) in (types.UnionType, typing.Union):
        kinds = [typing.get_origin(part) or part for part in typing.get_args(annotation)]
    else:
        kinds = [typing.get_origin(annotation) or annotation]
    if inspect.Parameter.empty in kinds or not all(isinstance(kind, type) for kind in kinds):
        kinds = [object if default in (None, inspect.Parameter.empty) else type(default)]
    order = [types.NoneType, bool, int, float, complex, tuple, list, dict]
    place = {kind: number for number, kind in enumerate([*order, None, Path, str, object])}
    return sorted(dict.fromkeys(kinds), key=lambda kind: place.get(kind, place[None]))


def _read(kind: type, text: str | None, default: Any) -> Any:
    """A value of one type; raises ValueError, TypeError or KeyError where the text is none or of another."""
    if text is None:
        raise ValueError(text)
    literal = _literal(text)
    if kind is bool:
        if text.lower() not in TRUE + FALSE:
            raise ValueError(text)
        return text.lower() in TRUE
    if kind is types.NoneType:
        if text != "None":
            raise ValueError(text)
        return None
    if kind is object:
        return text if literal is None else literal[0]
    if kind is str or issubclass(kind, Path):
        return kind(literal[0] if literal is not None and isinstance(literal[0], str) else text)
    if kind in (int, float, complex):
        return kind(text)
    if literal is None and issubclass(kind, tuple | list | dict | set | frozenset):
        raise ValueError(text)
    if literal is None:
        return kind(text)
    value = literal[0]
    if kind in (tuple, list):
        if not isinstance(value, tuple | list):
            raise ValueError(text)
        inner = {type(one) for one in default} if isinstance(default, kind) else set()
        if len(inner) == 1:
            (entry,) = inner
            value = [_entry(entry, one) for one in value]
        return kind(value)
    return value if isinstance(value, kind) else kind(value)


def _entry(kind: type, value: Any) -> Any:
    """An entry of a tuple or list of entries of one type; whole numbers and texts also stand for floats and paths."""
    if isinstance(value, kind):
        return value
    if kind is float and type(value) is int:
        return float(value)
    if issubclass(kind, Path) and isinstance(value, str):
        return kind(value)
    raise ValueError(value)


def _literal(text: str) -> tuple[Any] | None:
    """The value of a Python literal, alone in a tuple; None for other text."""
    try:
        return (ast.literal_eval(text),)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None

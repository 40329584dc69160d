"""All images of a data set, from the cache or from its builder, which may ask here for those of another."""

import difflib
import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exflow.data import prepared, provenance
from exflow.data.registry import LabelledImages, known_data_sets
from exflow.errors import UserError


def parameters_of(name: str) -> Mapping[str, inspect.Parameter]:
    """The options of a data set as parameters of its builder.

    Raises:
      UserError: If the data set is not known; names the nearest one.
    """
    known = known_data_sets()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise UserError(
            f"data set: {name!r} is not known. {hint}Known: {', '.join(sorted(known))}. "
            "One of your own needs its module in config.imports."
        )
    return inspect.signature(known[name].build).parameters


def resolve_options(name: str, **options: Any) -> dict[str, Any]:
    """Options of a data set with its defaults filled in; None stands for the default.

    Raises:
      UserError: If the data set or an option is not known, or one without default is missing.
    """
    resolved = {key: parameter.default for key, parameter in parameters_of(name).items()}
    for key, value in options.items():
        if value is None:
            continue
        if key not in resolved:
            raise UserError(f"{name}: has no option {key!r}. Its options: {', '.join(resolved) or 'none'}.")
        resolved[key] = value
    missing = [key for key, value in resolved.items() if value is inspect.Parameter.empty]
    if missing:
        raise UserError(f"{name}: needs {' and '.join(missing)}. Set config.data.options={missing[0]}=...")
    return resolved


def load_labelled(name: str, **options: Any) -> LabelledImages:
    """All images of a data set with labels and splits, built and cached at the first use.

    What is cached is built again when the source of its builder, or of a data set that it takes images from, is another
    one, or the files of the user have changed.
    """
    options = resolve_options(name, **options)
    data_set = known_data_sets()[name]
    provenance.note(provenance.DATA_SET, name, data_set.source)
    if not data_set.cache:
        return data_set.build(**options)
    path = prepared.find(name, options)
    if path is not None:
        data, notes = prepared.read(path), prepared.read_notes(path)
        if all(map(_holds, notes)):
            provenance.note_all(notes)
            return data
    with provenance.recording() as notes:
        data = data_set.build(**options)
    prepared.write(name, options, data, notes)
    return data


def _holds(line: str) -> bool:
    """Whether what was noted when a file was prepared is still so; of files that are not here nobody can tell."""
    kind, name, state = json.loads(line)
    if kind == provenance.DATA_SET:
        known = known_data_sets().get(name)
        return known is not None and known.source == state
    path = Path(os.environ.get(name) or "").expanduser()
    return not os.environ.get(name) or not path.exists() or provenance.state_of_files(path) == state

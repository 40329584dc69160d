"""All images of a data set, from the cache or from its builder, which may ask here for those of another."""

import difflib
import inspect
from typing import Any

from exflow.data import prepared
from exflow.data.registry import LabelledImages, known_data_sets
from exflow.errors import UserError


def resolve_options(name: str, **options: Any) -> dict[str, Any]:
    """Options of a data set with its defaults filled in; None stands for the default.

    Raises:
      UserError: If the data set or an option is not known; names the nearest valid ones.
    """
    known = known_data_sets()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise UserError(
            f"data set: {name!r} is not known. {hint}Known: {', '.join(sorted(known))}. "
            "One of your own needs its module in config.imports."
        )
    resolved = {key: parameter.default for key, parameter in inspect.signature(known[name].build).parameters.items()}
    for key, value in options.items():
        if value is None:
            continue
        if key not in resolved:
            raise UserError(f"{name}: has no option {key!r}. Its options: {', '.join(resolved) or 'none'}.")
        resolved[key] = value
    return resolved


def load_labelled(name: str, **options: Any) -> LabelledImages:
    """All images of a data set with labels and splits, built and cached at the first use."""
    options = resolve_options(name, **options)
    data_set = known_data_sets()[name]
    if not data_set.cache:
        return data_set.build(**options)
    path = prepared.find(name, options)
    if path is not None:
        return prepared.read(path)
    data = data_set.build(**options)
    prepared.write(name, options, data)
    return data

"""The resolved configuration as JSON: in working directories, checkpoints and bundled models."""

import json

from ml_collections import ConfigDict

from exflow.config.base import base_config
from exflow.config.flat import flatten, put
from exflow.config.overrides import as_tuples
from exflow.config.renamed import convert
from exflow.errors import UserError


def to_json(config: ConfigDict) -> str:
    """The resolved configuration as indented JSON, tuples as lists."""
    return json.dumps(config.to_dict(), indent=2) + "\n"


def from_json(text: str) -> ConfigDict:
    """The configuration that `to_json` wrote, also by an earlier version.

    What it names in `imports` is imported first. Renamed keys get their present names, and keys it lacks their
    defaults.

    Raises:
      UserError: It names no family, or one that is not known, or a module that cannot be imported.
    """
    values = json.loads(text)
    family = values.get("model", {}).get("family")
    if family is None:
        raise UserError("config.model.family: missing. Add the family of the model, as base_config writes it.")
    config = base_config(family, values.get("imports", ()))
    with config.unlocked():
        for key, value in convert(family, flatten(ConfigDict(values))).items():
            if key != "imports":  # base_config has resolved them
                put(config, key, as_tuples(value))
    return config.lock()

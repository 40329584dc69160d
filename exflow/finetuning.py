"""Where `--mode=finetune` starts: the parameters of a working directory or a bundled model."""

import jax
import numpy as np
from ml_collections import ConfigDict

from exflow import loading
from exflow.config import available_configs, load_config
from exflow.config.families import find_family
from exflow.config.flat import flatten
from exflow.config.load import variants_of
from exflow.errors import UserError
from exflow.training.setup import WarmStart
from exflow.typing import Params

IMAGE_KEYS = ("image_size", "resize", "downscale")


def starting_point(config: ConfigDict) -> WarmStart:
    """The parameters that `config.training.init_from` names, as the start of a run of this configuration.

    Averaged parameters are taken where the source was evaluated with them.

    Raises:
      UserError: No source is named, it cannot be read, or it has another model or sees other images.
    """
    source = config.training.init_from
    if not source:
        raise UserError(
            "--mode=finetune: needs a model to start from. Set --config.training.init_from to a working directory or a "
            "bundled model, or train from scratch with --mode=train_and_evaluate."
        )
    trained = loading.find(source)
    check_same_model(config, trained.config, source)
    return start_from(trained.params, source)


def check_same_model(config: ConfigDict, source: ConfigDict, name: str) -> None:
    """Refuse a source whose parameters mean something else under this configuration.

    Raises:
      UserError: Names every key that differs, with both values.
    """
    different = model_differences(config, source)
    if different:
        fitting = [f":{variant}" for variant in _variants_for(config, source)]
        advice = f"Take {' or '.join(fitting)} of {config.name}" if fitting else "Choose the variant that describes it"
        raise UserError(
            f"{name}: is another model than this config describes ({'; '.join(different)}). {advice}, or set these "
            "keys to its values."
        )


def model_differences(config: ConfigDict, source: ConfigDict) -> list[str]:
    """Keys whose values make parameters of one configuration useless under another, with both values."""
    ours, theirs = flatten(config), flatten(source)
    family = config.model.family
    own = find_family(family)
    keys = ["model.family", *(f"model.{family}.{key}" for key in own.model if key not in own.incidental)]
    keys += [f"data.{key}" for key in IMAGE_KEYS]
    return [
        f"config.{key}: {ours[key]!r} here, {theirs[key]!r} there"
        for key in keys
        if key in theirs and ours[key] != theirs[key]
    ]


def _variants_for(config: ConfigDict, source: ConfigDict) -> list[str]:
    """Variants of a config file, of those that come with exflow, that describe the model of the source."""
    if config.name not in available_configs():
        return []
    variants = variants_of(config.name)
    return [name for name in variants if not model_differences(load_config(f"{config.name}:{name}"), source)]


def start_from(source: Params, name: str) -> WarmStart:
    """Function that replaces initial parameters by those of the source, one top-level parameter after the other.

    Those that the source lacks, such as the temperature of the few-shot objective, keep their initial values.
    """

    def warm_start(initial: Params) -> Params:
        params = {part: source.get(part, value) for part, value in initial.items()}
        if jax.tree.map(np.shape, params) != jax.tree.map(np.shape, initial):
            raise UserError(f"{name}: its parameters have other shapes than this config gives. Use its model section.")
        return jax.tree.map(lambda value, like: np.asarray(value, like.dtype), params, initial)

    return warm_start

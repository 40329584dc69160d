"""Checks of a whole configuration: allowed words, ranges, and keys that contradict each other.

Those of a family's own keys stand beside them in `exflow/config/families`.

Keys that only a data set, a model or the devices can judge (whether a class has enough images, whether the image can be
halved so often, whether the devices divide the batch) are checked there.
"""

import itertools

from ml_collections import ConfigDict

from exflow.config.base import base_config
from exflow.config.checks import (
    AT_LEAST_ONE,
    AT_LEAST_TWO,
    BELOW_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    SIGNED_FRACTION,
    check_interval,
    expected,
    is_number,
)
from exflow.config.families import find_family
from exflow.config.flat import flatten
from exflow.errors import UserError

CHOICES = {
    "data.resize": ("bilinear", "area", "nearest", "box", "pad"),
    "data.pipeline": ("tfdata", "device"),
    "data.batches": ("episodes", "images"),
    "model.block_loop": ("auto", "scan", "unroll"),
    "optimizer.name": ("rmsprop", "adam"),
    "optimizer.schedule": ("constant", "exponential", "cosine", "milestones"),
    "training.best_mode": ("min", "max"),
    "sampling.interpolation": ("orthant", "hyperplane"),
    "sampling.direction": ("contrast", "mean"),
}
INTERVALS = {  # every other number is finite and at least 0
    **dict.fromkeys(("data.image_size", "data.downscale", "data.sets_per_batch", "data.set_size"), AT_LEAST_ONE),
    "optimizer.learning_rate": POSITIVE,
    "optimizer.boost": POSITIVE,
    "optimizer.epsilon": POSITIVE,
    **dict.fromkeys(("optimizer.b1", "optimizer.b2", "optimizer.ema_decay"), BELOW_ONE),
    "training.steps_per_call": AT_LEAST_ONE,
    "training.keep_checkpoints": AT_LEAST_ONE,
    "training.max_nonfinite_steps": AT_LEAST_ONE,
    "evaluation.batch_size": AT_LEAST_ONE,
    "evaluation.nll_set_size": AT_LEAST_ONE,
    "evaluation.num_trials": AT_LEAST_ONE,
    "evaluation.validation_trials": AT_LEAST_ONE,
    "evaluation.importance_samples": AT_LEAST_ONE,
    "evaluation.finetune_learning_rate": POSITIVE,
    "sampling.steps": AT_LEAST_TWO,
    "sampling.strength": SIGNED_FRACTION,
    **{
        f"data.{section}.{key}": PROBABILITY
        for section in ("augment", "augment_set")
        for key in ("probability", "flip_horizontal", "flip_vertical")
    },
}
SPLITS = ("train", "validation", "test")


def validate(config: ConfigDict) -> None:
    """Refuse a configuration that cannot run; keys that are not in `base_config` are left alone.

    Args:
      config: Complete configuration, as `load_config` makes it.

    Raises:
      UserError: One line that names the key, what it expects and what it got.
    """
    family = find_family(config.get("model", {}).get("family", ""))
    flat, defaults = flatten(config), flatten(base_config(config.model.family))
    missing = [f"config.{key}" for key in defaults if key not in flat]
    if missing:
        raise UserError(f"config: lacks {', '.join(missing)}. Start from exflow.config.base_config(family).")
    for key, choices in (CHOICES | dict(family.choices)).items():
        if flat[key] not in choices:
            raise expected(key, f"one of {', '.join(choices)}", flat[key])
    intervals = INTERVALS | dict(family.intervals)
    for key, default in defaults.items():
        if is_number(default):
            check_interval(key, flat[key], intervals.get(key, NOT_NEGATIVE))
    _check_data(config)
    _check_optimizer(config)
    _check_evaluation(config)
    _check_groups(config, family.groups)
    family.check(config)
    _check_best(config)
    if config.training.seed >= 2**31:
        raise expected("training.seed", "a number below 2**31", config.training.seed)


def _check_data(config: ConfigDict) -> None:
    data = config.data
    if data.image_size % data.downscale:
        raise expected("data.downscale", f"a divisor of data.image_size = {data.image_size}", data.downscale)
    if data.min_set_size > data.set_size:
        raise expected("data.min_set_size", f"at most data.set_size = {data.set_size}", data.min_set_size)
    for key, only in {"set_size": 1, "rotate": False, "distinct": False}.items():
        if data.batches == "images" and data[key] != only:
            advice = f"Set --config.data.{key}={only}, or --config.data.batches=episodes."
            raise expected(f"data.{key}", f"{only} with data.batches=images", data[key], advice)


def _check_optimizer(config: ConfigDict) -> None:
    if config.optimizer.decay_rate > 1 or config.optimizer.decay_rate == 0:
        raise expected("optimizer.decay_rate", "a factor in (0, 1]", config.optimizer.decay_rate)
    milestones = config.optimizer.milestones
    steps = [0, *milestones] if all(isinstance(step, int) for step in milestones) else [0, 0]
    if any(later <= step for step, later in itertools.pairwise(steps)):
        raise expected("optimizer.milestones", "ever larger whole numbers, at least 1", milestones)


def _check_evaluation(config: ConfigDict) -> None:
    evaluation = config.evaluation
    for setting in evaluation.settings:
        pair = isinstance(setting, tuple | list) and len(setting) == 2 and all(isinstance(n, int) for n in setting)
        if not pair or setting[0] < 2 or setting[1] < 1:
            raise expected(
                "evaluation.settings", "pairs (way, shot) with way >= 2 and shot >= 1, such as '(5,1),(20,1)'", setting
            )
    unknown = [split for split in evaluation.splits if split not in SPLITS]
    if unknown or not evaluation.splits:
        raise expected("evaluation.splits", f"some of {SPLITS}", evaluation.splits)


def _check_groups(config: ConfigDict, groups: tuple[str, ...]) -> None:
    """Check what only some groups of parameters are meant for, those of the family besides "main"."""
    every, options = ("main", *groups, "statistics"), config.evaluation
    if any(name not in every for name in config.training.only_groups):
        raise expected("training.only_groups", f"some of {', '.join(every)}", config.training.only_groups)
    if options.finetune_epochs and "inference" not in groups:
        what = f'0, since models of {config.model.family} have no parameters in a group "inference"'
        raise expected("evaluation.finetune_epochs", what, options.finetune_epochs)
    if options.finetune_epochs and (options.marginal_samples or options.importance_samples) == 1:
        what = "at least 2 with evaluation.finetune_epochs"
        raise expected("evaluation.marginal_samples", what, options.marginal_samples)


def _check_best(config: ConfigDict) -> None:
    """Whether the best checkpoint can be told at all; what its metric may be, the evaluators of the model say."""
    training = config.training
    if training.best_metric and config.data.split.endswith("_trainval"):
        raise UserError(
            f"config.training.best_metric: {training.best_metric!r} is measured on validation classes, which "
            f"data.split = {config.data.split} trains on. Set --config.training.best_metric= (empty)."
        )

"""Checks of a whole configuration: allowed words, ranges, and keys that contradict each other.

Keys that only a data set, a model or the devices can judge (whether a class has enough images, whether the image can be
halved so often, whether the devices divide the batch) are checked there.
"""

import math

from ml_collections import ConfigDict

from exflow.config.base import base_config
from exflow.errors import UserError

CHOICES = {
    "data.resize": ("bilinear", "area", "nearest", "box"),
    "data.pipeline": ("tfdata", "device"),
    "model.process": ("gaussian", "student_t", "mixture", "low_rank"),
    "model.conditioning": ("none", "original", "clean"),
    "model.dense_mask": ("alternate", "checkerboard"),
    "model.coupling": ("affine", "affine_scaled", "spline"),
    "model.initialization": ("original", "sequential"),
    "model.compute_dtype": ("float32", "bfloat16", "bfloat16_products"),
    "model.block_loop": ("auto", "scan", "unroll"),
    "model.conv_gradient": ("auto", "plain", "matmul"),
    "model.process_init": ("constant", "empirical"),
    "model.set_vae.hierarchy": ("vector", "map", "stream"),
    "model.set_vae.context_levels": ("none", "top", "all"),
    "model.set_vae.aggregation": ("mean", "max", "attention", "learned_query"),
    "model.set_vae.prior_aggregation": ("mean", "max", "attention", "learned_query"),
    "model.set_vae.activation": ("elu", "relu"),
    "model.set_vae.normalization": ("batch", "group", "none"),
    "model.set_vae.head_normalization": ("", "batch", "global_batch", "group", "none"),
    "model.set_vae.initialization": ("uniform_fan_in", "xavier_normal"),
    "model.set_vae.decoder_context": ("corner", "mean", "map"),
    "model.set_vae.level_loop": ("auto", "scan", "unroll"),
    "model.set_vae.class_rule": ("kl", "elbo"),
    "optimizer.name": ("rmsprop", "adam"),
    "optimizer.schedule": ("constant", "exponential", "cosine"),
    "training.best_mode": ("min", "max"),
}

# Keys by the interval of their values; every other number must be finite and at least 0.
AT_LEAST_ONE = (
    *("data.image_size", "data.downscale", "data.sets_per_batch", "data.set_size"),
    *("model.filters", "model.dense_units", "model.process_init_batches", "model.process_rank"),
    *("training.steps_per_call", "training.keep_checkpoints", "training.max_nonfinite_steps"),
    *("model.set_vae.hidden", "model.set_vae.latent_dim", "model.set_vae.context_dim", "model.set_vae.num_levels"),
    *("model.set_vae.encoder_filters", "model.set_vae.num_blocks", "model.set_vae.block_depth"),
    *("objective.epoch_steps", "evaluation.importance_samples"),
    *("evaluation.batch_size", "evaluation.nll_set_size", "evaluation.num_trials", "evaluation.validation_trials"),
)
POSITIVE = (
    *("model.variance", "model.spline_bound"),
    *("objective.temperature", "optimizer.learning_rate", "optimizer.boost"),
)
BELOW_ONE = (
    *("model.alpha", "model.correlation", "objective.label_smoothing"),
    *("optimizer.b1", "optimizer.b2", "optimizer.ema_decay"),
)
PROBABILITIES = tuple(
    f"data.{section}.{key}"
    for section in ("augment", "augment_set")
    for key in ("probability", "flip_horizontal", "flip_vertical")
)
LIKELIHOODS = ("nll", "nll_prior", "bits_per_dim")
SPLITS = ("train", "validation", "test")


def validate(config: ConfigDict) -> None:
    """Refuse a configuration that cannot run; keys that are not in `base_config` are left alone.

    Args:
      config: Complete configuration, as `load_config` makes it.

    Raises:
      UserError: One line that names the key, what it expects and what it got.
    """
    flat, defaults = flatten(config), flatten(base_config())
    missing = [f"config.{key}" for key in defaults if key not in flat]
    if missing:
        raise UserError(f"config: lacks {', '.join(missing)}. Start from exflow.config.base_config().")
    for key, choices in CHOICES.items():
        if flat[key] not in choices:
            raise _expected(key, f"one of {', '.join(choices)}", flat[key])
    for key, default in defaults.items():
        if type(default) in (int, float):
            _check_range(key, flat[key])
    _check_data(config)
    _check_model(config)
    _check_objective(config)
    _check_evaluation(config)
    _check_best(config)
    if config.training.seed >= 2**31:
        raise _expected("training.seed", "a number below 2**31", config.training.seed)


def flatten(config: ConfigDict, prefix: str = "") -> dict:
    """Dotted keys and values of all entries, sections left out."""
    flat = {}
    for key, value in config.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, ConfigDict) else {f"{prefix}{key}": value}
    return flat


def _expected(key: str, what: str, value: object, advice: str = "") -> UserError:
    return UserError(f"config.{key}: expected {what}, got {value!r}." + (f" {advice}" if advice else ""))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_range(key: str, value: int | float) -> None:
    if not math.isfinite(value):
        raise _expected(key, "a finite number", value)
    if key in AT_LEAST_ONE and value < 1:
        raise _expected(key, "at least 1", value)
    if key in POSITIVE and value <= 0:
        raise _expected(key, "a positive number", value)
    if key in BELOW_ONE and not 0 <= value < 1:
        raise _expected(key, "a number in [0, 1)", value)
    if key in PROBABILITIES and not 0 <= value <= 1:
        raise _expected(key, "a probability", value)
    if value < 0:
        raise _expected(key, "at least 0", value)


def _check_data(config: ConfigDict) -> None:
    data = config.data
    if data.image_size % data.downscale:
        raise _expected("data.downscale", f"a divisor of data.image_size = {data.image_size}", data.downscale)
    if data.min_set_size > data.set_size:
        raise _expected("data.min_set_size", f"at most data.set_size = {data.set_size}", data.min_set_size)


def _check_model(config: ConfigDict) -> None:
    if config.model.alpha == 0:
        raise _expected("model.alpha", "a positive number", config.model.alpha, "The logit of 0 is infinite.")
    if not 2 <= config.model.spline_bins < 1000:
        raise _expected("model.spline_bins", "at least 2 and less than 1000", config.model.spline_bins)
    if config.model.coupling == "spline" and config.model.conditioning == "original":
        raise _expected("model.conditioning", "none or clean with model.coupling=spline", config.model.conditioning)
    if config.model.turn_back and config.model.conditioning == "none":
        raise _expected("model.conditioning", "original or clean with model.turn_back", config.model.conditioning)
    if config.model.degrees_of_freedom <= 2:
        raise _expected("model.degrees_of_freedom", "more than 2", config.model.degrees_of_freedom)
    set_vae = config.model.set_vae
    if (
        config.model.family == "set_vae"
        and (set_vae.hierarchy != "stream" and set_vae.context_levels == "none")
        and (set_vae.class_rule == "kl" and config.evaluation.settings)
    ):
        advice = "A VAE has no latents of a set to compare. Or rank no classes: --config.evaluation.settings=()"
        raise _expected("model.set_vae.class_rule", "elbo with context_levels=none", set_vae.class_rule, advice)
    drawn = config.model.correlation_range
    if drawn and not (len(drawn) == 2 and all(map(_is_number, drawn)) and 0 < drawn[0] <= drawn[1] < 1):
        raise _expected("model.correlation_range", "() or (low, high) with 0 < low <= high < 1", drawn)
    if config.model.process_refresh_every and config.model.process_init != "empirical":
        raise _expected("model.process_init", "empirical with process_refresh_every > 0", config.model.process_init)
    if config.optimizer.decay_rate > 1 or config.optimizer.decay_rate == 0:
        raise _expected("optimizer.decay_rate", "a factor in (0, 1]", config.optimizer.decay_rate)


def _check_objective(config: ConfigDict) -> None:
    objective, data = config.objective, config.data
    shots = objective.shots
    if not shots or not all(isinstance(shot, int) and shot >= 1 for shot in shots):
        raise _expected("objective.shots", "whole numbers of at least 1, such as (1, 5)", shots)
    if objective.generative_weight == 0 and objective.discriminative_weight == 0:
        raise UserError("config.objective: both weights are 0, nothing is learned. Set generative_weight=1.")
    ways = objective.ways
    if not ways or not all(isinstance(way, int) and way >= 0 and way != 1 for way in ways):
        raise _expected("objective.ways", "whole numbers of at least 2, or 0 for all sets of a batch", ways)
    smallest = data.min_set_size or data.set_size
    if objective.num_context >= smallest:
        raise _expected("objective.num_context", f"less than the {smallest} images of a set", objective.num_context)
    if objective.discriminative_weight == 0:
        return
    undivided = [way for way in ways if way and data.sets_per_batch % way]
    if undivided:
        raise _expected(
            "objective.ways", f"divisors of data.sets_per_batch = {data.sets_per_batch}", ways, "Episodes share no set."
        )
    if data.set_size <= max(shots):
        raise _expected(
            "data.set_size",
            f"more than max(objective.shots) = {max(shots)}",
            data.set_size,
            "Queries are what is left.",
        )
    if data.sets_per_batch < 2:
        raise _expected("data.sets_per_batch", "at least 2 classes to tell apart", data.sets_per_batch)
    if not data.distinct:
        raise _expected(
            "data.distinct",
            "True with objective.discriminative_weight > 0",
            data.distinct,
            "Two sets of one class cannot be told apart.",
        )


def _check_evaluation(config: ConfigDict) -> None:
    evaluation = config.evaluation
    for setting in evaluation.settings:
        pair = isinstance(setting, tuple | list) and len(setting) == 2 and all(isinstance(n, int) for n in setting)
        if not pair or setting[0] < 2 or setting[1] < 1:
            raise _expected(
                "evaluation.settings", "pairs (way, shot) with way >= 2 and shot >= 1, such as ((5, 1),)", setting
            )
    unknown = [split for split in evaluation.splits if split not in SPLITS]
    if unknown or not evaluation.splits:
        raise _expected("evaluation.splits", f"some of {SPLITS}", evaluation.splits)


def _check_best(config: ConfigDict) -> None:
    """Which checkpoint is reported: the names are those of `exflow.evaluation.evaluator.validate`."""
    training = config.training
    accuracies = [f"few_shot/{way}way_{shot}shot" for way, shot in config.evaluation.settings]
    modes = {"": training.best_mode} | dict.fromkeys(LIKELIHOODS, "min") | dict.fromkeys(accuracies, "max")
    if training.best_metric not in modes:
        raise _expected("training.best_metric", f"one of {', '.join(filter(None, modes))}", training.best_metric)
    if training.best_metric and config.data.split.endswith("_trainval"):
        raise UserError(
            f"config.training.best_metric: {training.best_metric!r} is measured on validation classes, which "
            f"data.split = {config.data.split} trains on. Set --config.training.best_metric= (empty)."
        )
    mode = modes[training.best_metric]
    if training.best_mode != mode:
        raise _expected("training.best_mode", f"{mode} with {training.best_metric}", training.best_mode)
